"""Pages: HTML files that need nothing from outside, for the report, the audit and the demo.

- template: a page from its template; base.html is what every page has around it (style.css, script.js), and what keeps it from
  fetching anything (its Content-Security-Policy)
- contents: headings with anchors, listed at the top of a page
- tables.html, pictures.html, viewer.html: macros for tables that sort by a click, for pictures and for the viewer
- body: volumes turned to the axes of the body
- pictures: three planes of a case with contours
- viewer: volumes as viewer.js (of viewer_parts.js) shows them, by niivue in vendor/
- mistakes: which voxels of a prediction are wrong
- layers: which class is drawn where
- palette: one colour for each class

The template of a page lies beside the code that makes its data.
"""
