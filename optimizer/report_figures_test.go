package optimizer

import "testing"

func TestReportFigures(t *testing.T) {
	usd := func(x float64) string { return showUSD(&x) }
	for _, test := range []struct{ name, got, want string }{
		{"share", showShare(shareOf(6, 10)), "60 % (31–83)"},
		{"all", showShare(shareOf(10, 10)), "100 % (72–100)"},
		{"nothing counted", showShare(shareOf(0, 0)), "—"},
		{"many", showShare(shareOf(960, 1000)), "96.0 % (94.6–97.0)"},
		{"nearly all", showShare(shareOf(9999, 10_000)), "99.9 % (99.9–99.9)"},
		{"nearly none of few", hundredths(0.001, 10), "1"},
		{"points", showPoints(0.4), "+40"},
		{"fewer points", showPoints(-0.0312), "−3.1"},
		{"no points", showPoints(-0.00001), "0"},
		{"no money", usd(0), "$0"},
		{"dollars", usd(30), "$30.00"},
		{"cents", usd(0.6), "$0.60"},
		{"nearly a dollar", usd(0.999), "$1.00"},
		{"less than a cent", usd(0.00421), "$0.0042"},
		{"thousands", usd(1234.5), "$1,235"},
		{"very little", usd(1e-12), "<$0.000000001"},
		{"very much", usd(1e300), "$1e+300"},
		{"debt", usd(-2), "−$2.00"},
		{"unknown", showUSD(nil), "—"},
		{"ms", showMS(802.4), "802 ms"},
		{"fast", showMS(3.14), "3.1 ms"},
		{"thousand ms", showMS(1240), "1,240 ms"},
		{"seconds", showMS(12_340), "12.3 s"},
		{"minutes", showMS(90_000), "1m30s"},
		{"full minutes", showMS(120_000), "2m"},
		{"ages", showMS(1e300), "277777h46m40s"},
		{"p", showP(0.0312), "0.031"},
		{"small p", showP(1e-9), "<0.001"},
		{"no p", showP(1), "1"},
		{"tick", tickUSD(0.1), "$0.10"},
		{"large tick", tickUSD(25_000), "$25 k"},
		{"tick of seconds", tickMS(1500), "1.5 s"},
		{"spent", showSpent(1, nil), "1 call, cost unknown (a price is)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got %q, want %q", test.got, test.want)
			}
		})
	}
}
