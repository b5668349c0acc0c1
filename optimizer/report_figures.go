package optimizer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// none stands where a table has no figure.
const none = "—"

// minus is a typographic minus, as wide as a plus.
func minus(s string) string { return strings.Replace(s, "-", "−", 1) }

// hundredths is a share in percent without its sign. There is a decimal where
// so many things were counted that it says something, and what is not all or
// nothing is never rounded to it.
func hundredths(share float64, of int) string {
	if share == 0 || share == 1 {
		return strconv.Itoa(int(share * 100))
	}
	decimals, step := 0, 1.0
	if of >= 200 {
		decimals, step = 1, 0.1
	}
	x := math.Round(share*100/step) * step
	switch {
	case share < 1 && x >= 100:
		x = 100 - step
	case share > 0 && x <= 0:
		x = step
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// showShare is a share with its interval: 60 % (31–83).
func showShare(s Share) string {
	if s.Of == 0 {
		return none
	}
	return interval(s.Share, s.Low, s.High, s.Of)
}

// showMean is a mean score, as a share.
func showMean(m *Mean) string {
	if m == nil {
		return none
	}
	return interval(m.Mean, m.Low, m.High, m.Of)
}

func interval(at, low, high float64, of int) string {
	return fmt.Sprintf("%s %% (%s–%s)", hundredths(at, of), hundredths(low, of), hundredths(high, of))
}

// showScore is one score.
func showScore(score *float64) string {
	if score == nil {
		return none
	}
	return strconv.FormatFloat(math.Round(*score*1000)/1000, 'f', -1, 64)
}

// showPercent is a score as a share of n.
func showPercent(score *float64, n int) string {
	if score == nil {
		return none
	}
	return hundredths(*score, n) + " %"
}

// showPoints is a difference of shares in percentage points, with its sign.
func showPoints(difference float64) string {
	x := math.Round(difference*1000) / 10
	if x == 0 {
		return "0"
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if x > 0 {
		s = "+" + s
	}
	return minus(s)
}

// showDifference is a difference with its interval.
func showDifference(d *Difference) string {
	return fmt.Sprintf("%s points (%s to %s)", showPoints(d.Mean.Mean), showPoints(d.Low), showPoints(d.High))
}

// showP is a p-value.
func showP(p float64) string {
	switch {
	case p < 0.001:
		return "<0.001"
	case p > 0.9995:
		return "1"
	}
	return strconv.FormatFloat(p, 'f', 3, 64)
}

// showMS is a duration: 802 ms, 12.4 s.
func showMS(ms float64) string {
	switch {
	case ms >= 60_000:
		d := time.Duration(min(ms, 1e12)) * time.Millisecond
		s := d.Round(time.Second).String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		return s
	case ms >= 10_000:
		return trimmed(ms/1000, 1) + " s"
	case ms < 10:
		return trimmed(ms, 1) + " ms"
	}
	return humanize.Comma(int64(math.Round(ms))) + " ms"
}

func showP50(q *Quantiles) string {
	if q == nil {
		return none
	}
	return showMS(q.P50)
}

func showP95(q *Quantiles) string {
	if q == nil {
		return none
	}
	return showMS(q.P95)
}

// showUSD is an amount of money: cents from a dollar on, else what is significant, but at least cents.
func showUSD(usd *float64) string {
	if usd == nil {
		return none
	}
	x := *usd
	switch {
	case x == 0:
		return "$0"
	case x < 0:
		y := -x
		return "−" + showUSD(&y)
	case x >= 1e15:
		return "$" + strconv.FormatFloat(x, 'g', 3, 64)
	case x >= 1000:
		return "$" + humanize.Comma(int64(math.Round(x)))
	case x >= 0.995:
		return "$" + strconv.FormatFloat(x, 'f', 2, 64)
	case x < 1e-9:
		return "<$0.000000001"
	}
	digits := 1 - int(math.Floor(math.Log10(x))) // two that are significant
	s := trimmed(x, digits)
	if _, decimals, _ := strings.Cut(s, "."); len(decimals) < 2 {
		s = strconv.FormatFloat(x, 'f', 2, 64)
	}
	return "$" + s
}

func showCount(n int) string { return humanize.Comma(int64(n)) }

// counted is a number of things: 1 record, 2 records.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return showCount(n) + " " + what + "s"
}

// trimmed has at most so many decimals.
func trimmed(x float64, decimals int) string {
	s := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func showTime(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }

// showSpent is what a run has cost.
func showSpent(calls int, usd *float64) string {
	if usd == nil {
		return counted(calls, "call") + ", cost unknown (a price is)"
	}
	return counted(calls, "call") + ", " + showUSD(usd)
}
