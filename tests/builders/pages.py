"""What a page's tables look like, and which cases have pictures, read from its HTML."""

import re


def without_niivue(html):
    """The page but for the code of others in it, which a real browser shows to fetch nothing."""
    return re.sub(r"<script>\n/\*!.*?</script>", "", html, flags=re.DOTALL)


def disagreeing_columns(html):
    """Columns of which the head says other than the first row whether their cells are words; (head, cell) each."""
    found = []
    for head, row in re.findall(r"<thead><tr>(.*?)</tr></thead>\s*<tbody>\s*<tr>(.*?)</tr>", html, flags=re.DOTALL):
        heads, cells = (re.findall(r"<t[hd]\b[^>]*>", part) for part in (head, row))
        if len(heads) == len(cells):  # else one cell says that there is nothing
            pairs = list(zip(heads, cells))[1:]  # the first column is always words
            found += [pair for pair in pairs if ('class="words"' in pair[0]) != ('class="words"' in pair[1])]
    return found


def articles(page):
    """Case -> whether its pictures are there."""
    found = re.findall(
        r'<article class="case" id="[^"]*">\n<h3>([\w&;]+(?: &lt;2&gt;)?)(.*?)</article>', page.read_text(), re.DOTALL
    )
    return {case: 'class="pictures four"' in text for case, text in found}
