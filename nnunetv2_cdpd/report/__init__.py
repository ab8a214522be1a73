"""Report: scores, pictures, volumes and training curves as one HTML page that needs nothing from outside.

The page names cases by their identifier and shows nothing else of a patient: no path, no header of a file.

    page        the page from results (`write_report`)
    folder      the page of a folder of predictions (`cdpd report`)
    tables      scores and comparisons as tables that sort by a click (script.js)
    charts      box plots and curves as SVG
    training    curves from nnU-Net's training log
    pictures    three planes of a case with contours; layers, which class is drawn where
    viewer      downsampled volumes that script.js scrolls through
    palette     one colour for each class
"""
