"""Report: scores, pictures, volumes and training curves as one HTML page that needs nothing from outside.

The page names cases by their identifier and shows nothing else of a patient: no path, no header of a file.

- page: the page from results (`write_report`); page.html is its template
- folder: the page of a folder of predictions (`cdpd report`)
- tables: scores and comparisons as the rows of tables
- charts: box plots and curves; charts.html draws them as SVG
- comparison: a comparison.json as the page shows it
- origin: of which model and dataset the scores are, and where the cases lie now
- training: curves from nnU-Net's training log
- cases: pictures and volumes of cases
- mistakes: what is wrong in a case, by the rules of its scores
"""
