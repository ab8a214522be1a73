"""Pages: pieces of HTML, pictures and viewers that the report, the audit and the demo share."""
