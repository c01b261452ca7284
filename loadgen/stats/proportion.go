package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// FisherExact is the chance that at least a of the a+b events fall on the first of two sides with na and nb trials, where all trials are as likely
// to have them: Fisher's exact test, one-sided. It takes trials to be independent. Nothing tried, or no event, gives 1.
func FisherExact(a, na, b, nb int64) float64 {
	if a < 0 || b < 0 || a > na || b > nb {
		panic("stats: more events than trials")
	}
	events := a + b
	p, term := 0.0, math.Exp(logChoose(na, a)+logChoose(nb, b)-logChoose(na+nb, events))
	for k := a; k <= min(events, na); k++ {
		p += term
		term *= float64(na-k) / float64(k+1) * float64(events-k) / float64(nb-events+k+1)
	}
	return min(p, 1)
}

func logChoose(n, k int64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// ClopperPearson is the interval of a share of which k of n trials are known, each of whose ends errs with a chance of at most tail (C. J. Clopper and
// E. S. Pearson, Biometrika 26, 1934). Without trials it is 0 to 1.
func ClopperPearson(k, n int64, tail float64) (low, high float64) {
	low, high = 0, 1
	if k > 0 {
		low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), tail)
	}
	if k < n {
		high = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-tail)
	}
	return low, high
}

// ShareDifference is the interval of the difference of two shares, the first less the second, of which a of na and b of nb trials are known. It is made of
// their Clopper–Pearson intervals by the square-and-add rule (R. G. Newcombe, Statistics in Medicine 17, 1998, pages 873 to 890, whose
// method 10 does so with Wilson's), and so wider than most.
func ShareDifference(a, na, b, nb int64, tail float64) (estimate, low, high float64) {
	if na < 1 || nb < 1 {
		return 0, -1, 1
	}
	pa, pb := float64(a)/float64(na), float64(b)/float64(nb)
	la, ha := ClopperPearson(a, na, tail)
	lb, hb := ClopperPearson(b, nb, tail)
	estimate = pa - pb
	return estimate, estimate - math.Hypot(pa-la, hb-pb), estimate + math.Hypot(ha-pa, pb-lb)
}
