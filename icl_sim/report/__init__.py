"""One self-contained HTML page: verdicts, figures as inline SVG, tables; nothing is fetched."""
