package report

import "io"

var writers = map[string]func(io.Writer, In) error{"csv": CSV, "html": HTML, "markdown": Markdown, "ocsf": OCSF, "timesketch": Timesketch}

// Writer returns the writer of a format; nil when there is none of that name.
func Writer(format string) func(io.Writer, In) error { return writers[format] }
