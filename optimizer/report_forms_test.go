package optimizer

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestReportForms(t *testing.T) {
	kept := improved(t)
	kept.Registered, kept.Better, kept.Evidence, kept.Diff = "", false, "", ""
	kept.Template, kept.Lines, kept.After, kept.SpentUSD = kept.Original, nil, kept.Before, nil
	kept.Reason = "the budget is used up, and no prompt was better on all records"
	for i := range kept.Records {
		kept.Records[i].After, kept.Records[i].Change = kept.Records[i].Before, "same"
	}
	kept.Curve, kept.Tried = kept.Curve[:1], kept.Tried[:1]
	for _, test := range []struct {
		name   string
		run    *Run
		report any
	}{
		{"comparison", finishedRun(KindComparison), sentiment()},
		{"optimization", finishedRun(KindOptimization), improved(t)},
		{"kept", finishedRun(KindOptimization), kept},
	} {
		for ending, got := range forms(t, test.run, test.report) {
			t.Run(test.name+"."+ending, func(t *testing.T) {
				file := filepath.Join("testdata", "report", test.name+"."+ending)
				if *update {
					if err := os.WriteFile(file, got, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s has changed at %s; -update accepts it", file, firstDifference(got, want))
				}
			})
		}
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "\n\tgot  " + g[i] + "\n\twant " + w[i]
		}
	}
	return "its end"
}

func TestReportOfUnknownKind(t *testing.T) {
	if _, err := writeCSV(&Run{ID: "x", Kind: "dance"}, []byte("{}")); err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("got %v", err)
	}
	if _, err := writeHTML(&Run{ID: "x", Kind: KindComparison}, []byte("{")); err == nil {
		t.Error("a report that is no JSON was written")
	}
}
