package gate

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func TestExplore(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	var all []Rates
	run := func(s Simulation) {
		begin := time.Now()
		r, err := s.Run()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		fmt.Println(s.Name, time.Since(begin))
	}
	wild := map[string]float64{"p99": 0.5, "p90": 0.25}
	spendEarly = 3.5
	for _, f := range []float64{1, 1.5, 2, 3} {
		smooth = f
		for _, x := range []struct {
			k  Kind
			m  string
			f  float64
			sd map[string]float64
		}{{HeavyTailed, "p50", 1.1, nil}, {HeavyTailed, "p50", 1.1, wild}, {Independent, "p50", 1.05, nil}, {Independent, "p50", 1.05, wild}, {Independent, "rss", 1.03, wild}, {Bimodal, "p50", 1.1, nil}, {Bimodal, "cpu_per_op", 1.05, nil}} {
			run(Simulation{Name: fmt.Sprint(f, " ", x.k, " ", x.m, " ", x.f, " ", len(x.sd)), Gates: n, Options: Options{Seed: 1, Flips: 1 << 14}, Noise: Synthetic{Kind: x.k, SD: x.sd}, Inject: []Injection{{result.Cell{Scenario: "scenario-1", Measure: x.m}, x.f}}})
		}
	}
	WriteRates(os.Stdout, all)
}
