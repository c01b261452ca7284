package stats

import "math"

// Spend is how much of alpha may be spent by the share t of all information, 0 to 1, when a trial is looked at before its end: the family of
// I. K. Hwang, W. J. Shih and J. S. DeCani, Statistics in Medicine 9 (1990), pages 1439 to 1445, α(1−e^(−γt))/(1−e^(−γ)). The larger
// gamma, the more is spent early: −4 is near O'Brien and Fleming's boundaries, 1 near Pocock's, and 0 spends evenly. Spending functions are
// K. K. G. Lan's and D. L. DeMets's, Biometrika 70 (1983), pages 659 to 663.
func Spend(alpha, t, gamma float64) float64 {
	t = min(max(t, 0), 1)
	if gamma == 0 {
		return alpha * t
	}
	return alpha * math.Expm1(-gamma*t) / math.Expm1(-gamma)
}
