package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func capacityFound() *loadgen.Capacity {
	trial := func(rate float64, good bool, wait, remote time.Duration) loadgen.Trial {
		t := loadgen.Trial{
			Plan: loadgen.TrialPlan{Rate: rate, Duration: 8 * time.Second}, Good: good, Calls: 6000, Achieved: rate,
			Mean: 12 * time.Millisecond, P50: 11 * time.Millisecond, P95: 20 * time.Millisecond, P99: 30 * time.Millisecond,
			Resources: loadgen.TrialResources{ServerCPU: 41, GeneratorCPU: 30, Wait: wait, Remote: remote},
		}
		if !good {
			t.Why = []string{"exec: p99<100ms was missed"}
		}
		return t
	}
	const ms = time.Millisecond
	return &loadgen.Capacity{
		Rate: 801, Low: 790.4, High: 809.5, Knee: 720, Time: 150 * time.Second,
		Trials:  []loadgen.Trial{trial(790, true, ms, 12*ms), trial(1600, false, 2*ms, 700*ms), trial(812, false, 2*ms, 90*ms)},
		Profile: []loadgen.Trial{trial(400.5, true, ms, 11*ms), trial(560.7, true, ms, 11*ms), trial(720.9, true, ms, 11*ms)},
	}
}

func TestCapacityIsReported(t *testing.T) {
	d := sample(t, execRun())
	d.Capacity = result.NewCapacity("ssh-exec", "p99<100ms", capacityFound(), 2)
	wants := []string{"801/s", "790.4/s", "809.5/s", "720/s", "target", "from 400.5/s to 812/s", "from 11ms to 90ms", "70 % of capacity", "560.7/s"}
	for name, render := range map[string]Render{"text": Text, "markdown": Markdown} {
		var b bytes.Buffer
		if err := render(&b, d); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, b.String())
			}
		}
	}
	var b bytes.Buffer
	if err := JSON(&b, d); err != nil {
		t.Fatal(err)
	}
	back, err := result.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if c := back.Capacity; c == nil || c.Rate != 801 || len(c.Profile) != 3 || len(c.Trials) != 3 || c.Saturated != loadgen.SaturatedTarget {
		t.Errorf("read back: %+v", c)
	}
}

// TestCapacityNamesWhatIsShort changes the mildest overload.
func TestCapacityNamesWhatIsShort(t *testing.T) {
	for want, change := range map[string]func(c *loadgen.Capacity){
		loadgen.SaturatedTarget:    func(*loadgen.Capacity) {},
		loadgen.SaturatedPool:      func(c *loadgen.Capacity) { c.Trials[2].Resources.Wait = time.Second },
		loadgen.SaturatedCPU:       func(c *loadgen.Capacity) { c.Trials[2].Resources.ServerCPU = 150 },
		loadgen.SaturatedGenerator: func(c *loadgen.Capacity) { c.Generator = true },
		"":                         func(c *loadgen.Capacity) { c.Trials = c.Trials[:1] },
	} {
		c := capacityFound()
		change(c)
		if got, why := c.Saturated(2); got != want || (why == "") != (want == "") {
			t.Errorf("%q is short, said is %q: %s", want, got, why)
		}
	}
}
