// Tables that sort by a click, and viewers of volumes. No library, nothing from outside.
"use strict";
(() => {
  // ---- tables ------------------------------------------------------------------------------------------------------

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.colSpan > 1) return null;
    const text = (cell.dataset.value ?? cell.textContent).trim();
    return text === "" ? null : Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };

  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  const sortBy = (table, head, column) => {
    const direction = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    // rows without a value stay at the end
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : direction * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, head, column));
      head.append(button);
    });
  }

  // ---- volumes -----------------------------------------------------------------------------------------------------

  const WIDTH = 420; // of a canvas in pixels, at least; outlines are one pixel thin
  const FILL = 0.32; // opacity of a reference

  // One byte per voxel of a sheet of slices, in the order z, y, x.
  const readSheet = async (address, { shape: [depth, height, width], columns }) => {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const voxels = new Uint8Array(depth * height * width);
    for (let z = 0; z < depth; z++) {
      const left = (z % columns) * width;
      const top = Math.floor(z / columns) * height;
      const { data } = context.getImageData(left, top, width, height);
      for (let i = 0; i < height * width; i++) voxels[z * height * width + i] = data[4 * i];
    }
    return voxels;
  };

  // Planes: which axis is cut, which axes are down and across, whether rows run against their axis (head up).
  const PLANES = [
    { name: "axial", axis: 0, down: 1, across: 2, upwards: false },
    { name: "coronal", axis: 1, down: 0, across: 2, upwards: true },
    { name: "sagittal", axis: 2, down: 0, across: 1, upwards: true },
  ];

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const buildViewer = async (place) => {
    const data = JSON.parse(place.querySelector("script").textContent);
    const [reference, prediction, image] = await Promise.all(
      [data.reference, data.prediction, data.image].map((address) => (address ? readSheet(address, data) : null)),
    );
    const { shape, spacing } = data;
    const scale = Math.max(2, Math.ceil(WIDTH / Math.max(shape[1], shape[2]))); // canvas pixels per voxel
    const strides = [shape[1] * shape[2], shape[2], 1];
    const position = shape.map((length) => Math.floor(length / 2));
    const state = { reference: true, prediction: true, hidden: new Set() };
    const colours = new Map(
      data.classes.map(({ index, colour }) => [index, [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16))]),
    );
    const present = new Set();
    for (const voxels of [reference, prediction]) for (const voxel of voxels) present.add(voxel);
    const planes = PLANES.filter((plane) => shape[plane.down] > 1 && shape[plane.across] > 1);
    const views = planes.map((plane) => makeView(plane));

    function makeView(plane) {
      const [rows, columns] = [shape[plane.down], shape[plane.across]];
      const canvas = element("canvas", { width: columns * scale, height: rows * scale });
      const millimetres = [columns * spacing[plane.across], rows * spacing[plane.down]];
      canvas.style.aspectRatio = `${millimetres[0]} / ${millimetres[1]}`;
      const slider = element("input", { type: "range", min: 1, max: shape[plane.axis], value: position[plane.axis] + 1 });
      slider.setAttribute("aria-label", `${plane.name} slice`);
      const caption = element("span", {});
      const figure = element("figure", {}, canvas, element("figcaption", {}, caption, slider));
      figure.style.flex = `${millimetres[0]} 1 0`;
      const view = { plane, canvas, slider, caption, figure, rows, columns };
      slider.addEventListener("input", () => moveTo(plane.axis, slider.valueAsNumber - 1));
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        moveTo(plane.axis, position[plane.axis] - Math.sign(event.deltaY));
      }, { passive: false });
      const point = (event) => {
        const box = canvas.getBoundingClientRect();
        const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
        moveTo(plane.down, plane.upwards ? rows - 1 - row : row);
        moveTo(plane.across, Math.floor(((event.clientX - box.left) / box.width) * columns));
      };
      canvas.addEventListener("pointerdown", point);
      canvas.addEventListener("pointermove", (event) => event.buttons & 1 && point(event));
      return view;
    }

    function moveTo(axis, index) {
      const clipped = Math.max(0, Math.min(shape[axis] - 1, index));
      if (clipped === position[axis]) return;
      position[axis] = clipped;
      draw();
    }

    // Class at a row and column of the canvas; 0 outside and where it is hidden.
    function classAt(voxels, { plane, rows, columns }, row, column) {
      if (row < 0 || column < 0 || row >= rows || column >= columns) return 0;
      const down = plane.upwards ? rows - 1 - row : row;
      const at = position[plane.axis] * strides[plane.axis] + down * strides[plane.down] + column * strides[plane.across];
      return state.hidden.has(voxels[at]) ? 0 : voxels[at];
    }

    function drawView(view) {
      const { plane, canvas, rows, columns } = view;
      const context = canvas.getContext("2d");
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (image) {
        const small = new OffscreenCanvas(columns, rows);
        const pixels = new ImageData(columns, rows);
        for (let row = 0, at = 0; row < rows; row++) {
          const down = plane.upwards ? rows - 1 - row : row;
          let from = position[plane.axis] * strides[plane.axis] + down * strides[plane.down];
          for (let column = 0; column < columns; column++, at += 4, from += strides[plane.across]) {
            pixels.data.fill(image[from], at, at + 3);
            pixels.data[at + 3] = 255;
          }
        }
        small.getContext("2d").putImageData(pixels, 0, 0);
        context.drawImage(small, 0, 0, canvas.width, canvas.height);
      }
      context.drawImage(overlay(view), 0, 0);
    }

    // Reference as a fill, prediction as an outline.
    function overlay(view) {
      const { canvas } = view;
      const layer = new OffscreenCanvas(canvas.width, canvas.height);
      const pixels = new ImageData(canvas.width, canvas.height);
      const paint = (at, index, opacity) => {
        const [red, green, blue] = colours.get(index) ?? [255, 255, 255];
        pixels.data.set([red, green, blue, 255 * opacity], at);
      };
      for (let y = 0, at = 0; y < canvas.height; y++) {
        for (let x = 0; x < canvas.width; x++, at += 4) {
          const [row, column] = [Math.floor(y / scale), Math.floor(x / scale)];
          if (state.reference) {
            const index = classAt(reference, view, row, column);
            if (index) paint(at, index, FILL);
          }
          if (state.prediction) {
            const index = classAt(prediction, view, row, column);
            const edge = (dy, dx) => classAt(prediction, view, Math.floor((y + dy) / scale), Math.floor((x + dx) / scale)) !== index;
            if (index && (edge(-1, 0) || edge(1, 0) || edge(0, -1) || edge(0, 1))) paint(at, index, 1);
          }
        }
      }
      layer.getContext("2d").putImageData(pixels, 0, 0);
      return layer;
    }

    function draw() {
      for (const view of views) {
        const { plane, slider, caption } = view;
        slider.value = position[plane.axis] + 1;
        caption.textContent = `${plane.name} ${position[plane.axis] + 1} of ${shape[plane.axis]}`;
        drawView(view);
      }
    }

    const toggle = (label, name) => {
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => { state[name] = box.checked; draw(); });
      return element("label", {}, box, ` ${label}`);
    };
    const classButton = ({ index, name, colour }) => {
      const button = element("button", { type: "button" });
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = colour;
      button.append(swatch, name);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const shown = state.hidden.delete(index);
        if (!shown) state.hidden.add(index);
        button.setAttribute("aria-pressed", String(shown));
        draw();
      });
      return button;
    };
    place.append(
      element("div", { className: "controls" },
        toggle("reference (filled)", "reference"), toggle("prediction (outlined)", "prediction"),
        ...data.classes.filter(({ index }) => present.has(index)).map(classButton)),
      element("div", { className: "planes" }, ...views.map(({ figure }) => figure)),
      element("p", { className: "quiet" },
        "Scroll or drag a slider to move through the slices; click to move the other planes there. Downsampled, not for measuring."),
    );
    draw();
    place.dataset.ready = "yes";
  };

  const viewers = [...document.querySelectorAll(".viewer")];
  const whenSeen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      whenSeen.unobserve(target);
      buildViewer(target);
    }
  }, { rootMargin: "600px" });
  viewers.forEach((viewer) => whenSeen.observe(viewer));
})();
