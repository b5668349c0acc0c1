package optimizer

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
)

// A page is one file: nothing is loaded, and there is no script. Its filters are
// radio buttons, which style what comes after them.

//go:embed report_page.html report_plot.html report_comparison.html report_optimization.html report_page.css
var reportFiles embed.FS

var reportPages = template.Must(template.New("").Funcs(template.FuncMap{
	"series": series, "milliseconds": optionalMS, "usd": showUSD, "score": showScore,
}).ParseFS(reportFiles, "report_*"))

// page is what all pages have.
type page struct {
	Kind  string // of the run, in words
	Title string
	Facts []fact
	Body  any
}

func (p *page) render(name string) ([]byte, error) {
	var out bytes.Buffer
	if err := reportPages.ExecuteTemplate(&out, name, p); err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	return []byte(legible(out.String())), nil
}

const (
	// mostShown is how many records a page shows.
	mostShown = 1000
	// mostText is how much of an answer, in bytes, a page with many records shows.
	mostText, manyRecords = 600, 200
)

// shownOf is how much of each text a page with so many records shows, so that it stays one that a browser opens at once.
func shownOf(records int) int {
	if records > manyRecords {
		return mostText
	}
	return shownText
}

// filter is a choice of which records are shown.
type filter struct {
	Name  string // also the class of the records that it shows
	Count int
}

func optionalMS(ms *float64) string {
	if ms == nil {
		return none
	}
	return showMS(*ms)
}
