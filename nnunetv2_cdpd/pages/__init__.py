"""Pages: HTML files that need nothing from outside, for the report, the audit and the demo.

- template: a page from its template; base.html is what every page has around it (style.css, script.js)
- contents: headings with anchors, listed at the top of a page
- tables.html, pictures.html: macros for tables that sort by a click, and for pictures and volumes
- pictures: three planes of a case with contours
- viewer: downsampled volumes that script.js scrolls through
- layers: which class is drawn where
- palette: one colour for each class

The template of a page lies beside the code that makes its data.
"""
