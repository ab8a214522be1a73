// What viewer.js is made of: elements of the page, and volumes as niivue takes them.
"use strict";
const viewerParts = (() => {
  const { NVImage } = globalThis.niivue;
  const UINT8 = 2; // types of NIfTI
  const FLOAT32 = 16;

  const element = (tag, properties, ...children) => {
    const { aria = {}, ...others } = properties;
    const made = Object.assign(document.createElement(tag), others);
    for (const [name, value] of Object.entries(aria)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const swatch = (colour) => {
    const made = element("span", { className: "swatch" });
    made.style.background = colour;
    return made;
  };
  const choice = (label, onChange) => {
    const list = element("select", {});
    list.addEventListener("change", onChange);
    return { list, labelled: element("label", {}, `${label} `, list) };
  };
  const fill = (list, entries) => list.replaceChildren(...entries.map((name) => element("option", { value: name }, name)));
  const next = (list, step) => {
    list.selectedIndex = (list.selectedIndex + step + list.options.length) % list.options.length;
    list.dispatchEvent(new Event("change"));
  };

  const KEYS = [
    ["← → ↑ ↓", "move the crosshair as seen; with Shift 5 voxels; in 3D turn"], ["Page Up, Page Down", "next slice"],
    ["Home", "the largest mistake"], ["r, p, e", "reference, prediction, mistakes on and off"], ["+, −", "opacity of what is on"],
    ["w", "next window"], ["v", "next view"], ["n, b", "next case, the one before"], ["c", "cut the 3D picture open"],
  ];
  const help = element("details", { className: "keys" }, element("summary", {}, "Keys and mouse"),
    element("p", { className: "quiet" }, "Keys work while the picture has the focus: click it or move to it with Tab. A click or a drag ",
      "moves the crosshair; then the wheel scrolls through the slices. In 3D a drag turns and the wheel zooms."),
    element("dl", { id: "viewer-keys" }, ...KEYS.flatMap(([key, text]) => [element("dt", {}, key), element("dd", {}, text)])));

  // ---- volumes -----------------------------------------------------------------------------------------------------------

  const hueOf = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

  const unpack = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  const niftiOf = async (name, data, voxels, type, low, high) => {
    const spacing = [0, 1, 2].map((axis) => Math.hypot(...data.affine.slice(0, 3).map((row) => row[axis])));
    const file = NVImage.createNiftiArray(data.shape, spacing, data.affine.flat(), type, new Uint8Array(voxels.buffer));
    // colours, opacity, no second file, limits that hold for every voxel
    return NVImage.new(file.buffer, `${name}.nii`, "gray", 1, null, low, high, true, 0, false, false, "", 0, undefined, NaN, NaN,
      false, null, 0, null);
  };

  const tableOf = (entries, hidden) => {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const { index, name, colour } of entries) {
      const [red, green, blue] = hueOf(colour);
      const opaque = hidden.has(index) ? 0 : 255;
      for (const [key, value] of Object.entries({ R: red, G: green, B: blue, A: opaque, I: index, labels: name })) table[key].push(value);
    }
    return table;
  };

  return { UINT8, FLOAT32, element, swatch, choice, fill, next, help, unpack, niftiOf, tableOf };
})();
