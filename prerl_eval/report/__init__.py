"""`prerl-eval report`: tables, pictures and every trace of some runs in one HTML file.

    collect.py    what the report says of each run; samples spilled to disk, problem by problem
    payload.py    the format in which traces stand in the file, between Python and assets/report.js
    render.py     templates/*.j2 and assets/ -> the page
    index.py      `--index DIR`: the runs below a folder with their scores

Model text is untrusted: it stands in the file only as compressed base85 or as escaped text.
"""
