// The viewer of volumes: niivue on one canvas, asked by lists, boxes and keys. Nothing comes from outside.
"use strict";
(() => {
  const place = document.getElementById("viewer");
  if (!place) return;
  const { classes, mistakes } = JSON.parse(place.querySelector("script.page").textContent);
  const texts = new Map([...place.querySelectorAll("script.case")].map((its) => [its.dataset.case, its]));
  const { UINT8, FLOAT32, element, swatch, choice, fill, next, help, unpack, niftiOf, tableOf } = viewerParts;
  const { Niivue, SLICE_TYPE, SHOW_RENDER, MULTIPLANAR_TYPE, DRAG_MODE } = globalThis.niivue;

  // Where the arrows lead in each view, in voxels to the patient's right, to the front and to the head: the patient's right and
  // the front of the body are on the left.
  const AXIAL = { left: [1, 0, 0], up: [0, 1, 0], through: [0, 0, 1] };
  const CORONAL = { left: [1, 0, 0], up: [0, 0, 1], through: [0, 1, 0] };
  const SAGITTAL = { left: [0, 1, 0], up: [0, 0, 1], through: [1, 0, 0] };
  const MOVES = { [SLICE_TYPE.AXIAL]: AXIAL, [SLICE_TYPE.CORONAL]: CORONAL, [SLICE_TYPE.SAGITTAL]: SAGITTAL };
  const VIEWS = [
    { name: "planes and 3D", type: SLICE_TYPE.MULTIPLANAR, render: SHOW_RENDER.ALWAYS, moves: AXIAL },
    { name: "planes", type: SLICE_TYPE.MULTIPLANAR, render: SHOW_RENDER.NEVER, moves: AXIAL },
    { name: "axial", type: SLICE_TYPE.AXIAL, moves: AXIAL },
    { name: "coronal", type: SLICE_TYPE.CORONAL, moves: CORONAL },
    { name: "sagittal", type: SLICE_TYPE.SAGITTAL, moves: SAGITTAL },
    { name: "3D", type: SLICE_TYPE.RENDER },
  ];
  const FLAT = VIEWS.filter(({ name }) => name === "axial"); // of a single slice
  const DEGREES = 5; // of a key in 3D
  const FAR = 5; // voxels with Shift
  const CUTS = [[2, 0, 0], [0, 0, 90], [0, 270, 0], [0, 0, 0]]; // of the 3D picture: depth, azimuth, elevation; 2: none

  const overlays = [
    { what: "reference", letter: "r", shown: false, opacity: 0.5, entries: classes },
    { what: "prediction", letter: "p", shown: true, opacity: 0.5, entries: classes },
    { what: "mistakes", letter: "e", shown: false, opacity: 0.8, entries: mistakes },
  ];
  const hidden = new Set(); // numbers of classes
  const names = new Map(classes.map(({ index, name }) => [index, name]));
  const state = { loads: 0, shown: null, view: VIEWS[0], window: "", cut: 0 };

  // ---- what is on the page -----------------------------------------------------------------------------------------------

  const cases = choice("Case", () => show(cases.list.value));
  const views = choice("View", () => { setView(); nv.drawScene(); });
  const windows = choice("Window", () => applyWindow());
  const chips = element("div", { className: "controls chips", aria: { role: "group", "aria-label": "classes" } });
  const where = element("p", { className: "where", aria: { role: "status" } });
  const canvas = element("canvas", { tabIndex: 0, aria: { role: "application", "aria-describedby": "viewer-keys" } });
  const stage = element("div", { className: "stage" }, canvas);
  const switches = overlays.map((overlay) => {
    const box = element("input", { type: "checkbox", checked: overlay.shown });
    const range = element("input", { type: "range", min: 0, max: 100, value: 100 * overlay.opacity,
      aria: { "aria-label": `opacity of ${overlay.what}` } });
    box.addEventListener("change", () => { overlay.shown = box.checked; applyOverlays(); });
    range.addEventListener("input", () => { overlay.opacity = range.valueAsNumber / 100; applyOverlays(); });
    Object.assign(overlay, { box, range });
    return element("span", { className: "overlay" }, element("label", {}, box, ` ${overlay.what}`), range);
  });
  const errors = element("span", { className: "legend" },
    ...mistakes.map(({ name, colour }) => element("span", {}, swatch(colour), name)));

  const fail = (reason) => {
    place.replaceChildren(element("p", { className: "warning" }, `No volumes: ${reason}. The pictures below do not need them.`));
    place.dataset.ready = "failed";
  };

  // ---- volumes -----------------------------------------------------------------------------------------------------------

  const nv = new Niivue({
    isRadiologicalConvention: true, sagittalNoseLeft: true, showAllOrientationMarkers: true, isOrientCube: true,
    backColor: [0, 0, 0, 1], fontColor: [0.85, 0.9, 1, 1], crosshairColor: [1, 1, 1, 0.7], clipPlaneColor: [0, 0, 0, 0],
    crosshairWidth: 0.3, crosshairWidthUnit: "percent", crosshairGap: 6, multiplanarLayout: MULTIPLANAR_TYPE.GRID, multiplanarPadPixels: 22, tileMargin: 4, fontMinPx: 18, fontSizeScaling: 0.3, show3Dcrosshair: false,
    dragMode: DRAG_MODE.pan, dragAndDropEnabled: false, loadingText: "", logLevel: "fatal", isForceMouseClickToVoxelCenters: true,
  });

  const redraw = () => {
    nv.updateGLVolume();
    nv.opts.isNearestInterpolation = true; // a class has its colour up to its edge; the image beneath is smooth
    nv.updateInterpolation(1);
    nv.opts.isNearestInterpolation = false;
    nv.drawScene();
  };
  // These set; nothing is drawn before all is set.
  const setOverlays = () => {
    overlays.forEach((overlay) => {
      const { volume, shown, opacity, entries } = overlay;
      overlay.box.checked = shown;
      overlay.box.disabled = overlay.range.disabled = !volume;
      overlay.range.value = Math.round(100 * opacity);
      if (!volume) return;
      volume.opacity = shown ? opacity : 0;
      volume.setColormapLabel(tableOf(entries, entries === classes ? hidden : new Set()));
    });
    errors.hidden = !overlays[2].shown;
  };
  const setView = () => {
    state.view = VIEWS.find(({ name }) => name === views.list.value);
    if ("render" in state.view) nv.opts.multiplanarShowRender = state.view.render;
    nv.opts.sliceType = state.view.type;
  };
  const setStart = () => {
    nv.scene.crosshairPos = nv.mm2frac(state.shown.start, 0, true); // by the whole affine, however askew
    nv.createOnLocationChange();
  };
  const applyOverlays = () => { setOverlays(); redraw(); };
  const chosenWindow = () => {
    const [name, low, high] = state.shown.windows[windows.list.selectedIndex];
    state.window = name;
    return [low, high];
  };
  const applyWindow = () => {
    const [low, high] = chosenWindow();
    Object.assign(nv.volumes[0], { cal_min: low, cal_max: high });
    redraw();
  };

  const show = async (name) => {
    const load = ++state.loads;
    const data = JSON.parse(texts.get(name).textContent);
    const count = data.shape.reduce((product, length) => product * length);
    const [image, ...labels] = await Promise.all(["image", ...overlays.map(({ what }) => what)].map((what) => data[what] && unpack(data[what])));
    if (load !== state.loads) return; // another case was chosen meanwhile
    const intensities = image ? Float32Array.from(image, (code) => data.levels[code]) : new Float32Array(count);
    const made = [await niftiOf("image", data, intensities, FLOAT32, 0, 1)];
    for (const [index, { what }] of overlays.entries()) {
      if (labels[index]) made.push(await niftiOf(what, data, labels[index], UINT8, 0, 255));
    }
    if (load !== state.loads) return;
    state.shown = data;
    fill(windows.list, data.windows.map(([window, black, white]) => (data.unit ? `${window} ${black} to ${white} ${data.unit}` : window)));
    windows.list.selectedIndex = Math.max(0, data.windows.findIndex(([window]) => window === state.window)); // as before, where it has it
    const [low, high] = chosenWindow();
    Object.assign(made[0], { cal_min: low, cal_max: high });
    for (const overlay of overlays) {
      overlay.volume = made.find((volume) => volume.name === `${overlay.what}.nii`);
      overlay.shown &&= Boolean(overlay.volume);
    }
    const present = new Set(labels.slice(0, 2).flatMap((voxels) => [...new Set(voxels)]));
    chips.replaceChildren(...classes.filter(({ index }) => present.has(index)).map(chip));
    cases.list.value = name;
    fill(views.list, (data.shape[2] === 1 ? FLAT : VIEWS).map((view) => view.name));
    if ([...views.list.options].some(({ value }) => value === state.view.name)) views.list.value = state.view.name;
    canvas.setAttribute("aria-label", `volume of ${name}`);
    setView();
    setOverlays();
    nv.volumes = made.slice(0, -1); // each that is added is drawn with all before it
    nv.addVolume(made.at(-1));
    setStart();
    redraw();
    place.dataset.ready = "yes";
    place.dataset.case = name;
  };

  const chip = ({ index, name, colour }) => {
    const button = element("button", { type: "button", aria: { "aria-pressed": String(!hidden.has(index)) } }, swatch(colour), name);
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      applyOverlays();
    });
    return button;
  };

  // Where the crosshair is, the classes there, what is wrong, the intensity.
  nv.onLocationChange = ({ mm, values }) => {
    const at = new Map(values.map(({ name, value }) => [name, Math.round(value)]));
    const classAt = (what) => `${what}: ${names.get(at.get(`${what}.nii`)) ?? "none"}`;
    const wrong = mistakes.find(({ index }) => index === at.get("mistakes.nii"));
    const parts = [`RAS ${[...mm].slice(0, 3).map((position) => position.toFixed(1)).join(", ")} mm`, classAt("reference"), classAt("prediction")];
    if (wrong) parts.push(wrong.name);
    if (state.shown?.image) parts.push(`${Number(values[0].value.toPrecision(4))} ${state.shown.unit}`.trim());
    where.textContent = parts.join(" · ");
  };

  // ---- keys and mouse ----------------------------------------------------------------------------------------------------

  const move = (direction, sign, far) => {
    const steps = state.view.moves[direction].map((step) => step * sign * (far ? FAR : 1));
    nv.moveCrosshairInVox(...steps);
  };
  const turn = (right, up) =>
    nv.setRenderAzimuthElevation(nv.scene.renderAzimuth + right * DEGREES, nv.scene.renderElevation + up * DEGREES);
  const toggle = (overlay) => { overlay.shown = !overlay.shown && !overlay.box.disabled; applyOverlays(); };
  const fade = (step) => {
    for (const overlay of overlays) if (overlay.shown) overlay.opacity = Math.min(1, Math.max(0, overlay.opacity + step));
    applyOverlays();
  };
  const flat = (planar, solid) => (event) => (state.view.moves ? planar(event.shiftKey) : solid());
  const keys = {
    ArrowLeft: flat((far) => move("left", 1, far), () => turn(-1, 0)), ArrowRight: flat((far) => move("left", -1, far), () => turn(1, 0)),
    ArrowUp: flat((far) => move("up", 1, far), () => turn(0, 1)), ArrowDown: flat((far) => move("up", -1, far), () => turn(0, -1)),
    PageUp: flat((far) => move("through", 1, far), () => {}), PageDown: flat((far) => move("through", -1, far), () => {}),
    Home: () => { setStart(); nv.drawScene(); }, "+": () => fade(0.1), "-": () => fade(-0.1),
    w: () => next(windows.list, 1), v: () => next(views.list, 1), n: () => next(cases.list, 1), b: () => next(cases.list, -1),
    c: () => { state.cut = (state.cut + 1) % CUTS.length; nv.setClipPlane(CUTS[state.cut]); },
    ...Object.fromEntries(overlays.map((overlay) => [overlay.letter, () => toggle(overlay)])),
  };
  // before niivue, which has keys of its own
  for (const kind of ["keydown", "keyup"]) {
    stage.addEventListener(kind, (event) => {
      event.stopPropagation();
      const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      if (kind === "keydown" && state.shown) act(event);
    }, { capture: true });
  }
  stage.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }), { capture: true });
  // the wheel scrolls the page until the viewer is meant, then slice by slice; niivue's own steps are a hundredth of a volume
  stage.addEventListener("wheel", (event) => {
    const box = canvas.getBoundingClientRect();
    const tile = nv.screenSlices[nv.tileIndex((event.clientX - box.left) * nv.uiData.dpr, (event.clientY - box.top) * nv.uiData.dpr)];
    const moves = MOVES[tile?.axCorSag];
    const meant = document.activeElement === canvas;
    if (meant && !moves) return; // niivue zooms the 3D picture
    event.stopPropagation();
    if (!meant) return;
    event.preventDefault();
    nv.moveCrosshairInVox(...moves.through.map((step) => -step * Math.sign(event.deltaY)));
  }, { capture: true, passive: false });
  canvas.addEventListener("webglcontextlost", () => fail("the browser has taken back its graphics; load the page again"));
  document.addEventListener("click", ({ target }) => {
    const link = target.closest?.("a[data-case]");
    if (link && place.dataset.ready !== "failed") begin().then(() => show(link.dataset.case)).catch((error) => fail(error.message));
  });

  // ---- begin -------------------------------------------------------------------------------------------------------------

  let begun = null;
  const begin = () => (begun ??= (async () => {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2, or it is switched off");
    fill(cases.list, [...texts.keys()]);
    place.append(element("div", { className: "controls" }, cases.labelled, views.labelled, windows.labelled),
      element("div", { className: "controls" }, ...switches, errors), chips, stage, where, help);
    await nv.attachToCanvas(canvas, false);
    nv.setRenderAzimuthElevation(160, 15); // from the front, a little from the patient's left and from above
  })());
  const whenSeen = new IntersectionObserver((entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting) || begun) return;
    whenSeen.disconnect();
    begin().then(() => show(texts.keys().next().value)).catch((error) => fail(error.message));
  }, { rootMargin: "600px" });
  whenSeen.observe(place);
})();
