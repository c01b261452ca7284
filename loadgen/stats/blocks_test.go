package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestBlockRatioCovers has series with a known ratio of medians, whose neighbours are correlated: the interval of 95 % has to cover it nearly so
// often, and one that draws values one by one would not.
func TestBlockRatioCovers(t *testing.T) {
	const rounds = 60
	covered, apart := 0, 0
	for seed := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		series := func(level float64) []float64 {
			x, state := make([]float64, 100), 0.0
			for i := range x {
				state = 0.5*state + 0.05*rnd.NormFloat64()
				x[i] = level * math.Exp(state)
			}
			return x
		}
		low, high, ok := BlockRatio(series(2), series(2.2), 0.95, seed)
		if !ok || low >= high {
			t.Fatalf("from %v to %v, %v", low, high, ok)
		}
		if low <= 1.1 && 1.1 <= high {
			covered++
		}
		if low > 1 {
			apart++
		}
	}
	if t.Logf("covered %d, apart %d of %d", covered, apart, rounds); covered < 50 || apart < 50 {
		t.Errorf("covered %d, apart %d of %d", covered, apart, rounds)
	}
}

func TestBlockRatioEdges(t *testing.T) {
	if _, _, ok := BlockRatio(make([]float64, 9), make([]float64, 50), 0.95, 1); ok {
		t.Error("9 values are enough")
	}
	same := make([]float64, 12)
	for i := range same {
		same[i] = 7
	}
	if low, high, ok := BlockRatio(same, same, 0.95, 1); !ok || low != 1 || high != 1 {
		t.Errorf("equal values: from %v to %v, %v", low, high, ok)
	}
	one, _, _ := BlockRatio(otavaLike(), otavaLike(), 0.95, 5)
	two, _, _ := BlockRatio(otavaLike(), otavaLike(), 0.95, 5)
	if one != two {
		t.Error("the same seed gives another interval")
	}
}

func otavaLike() []float64 { return []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} }
