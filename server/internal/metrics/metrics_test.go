package metrics

import (
	"sync"
	"testing"
	"time"
)

func TestRegistry(t *testing.T) {
	var r Registry
	if len(r.Snapshot()) != 0 {
		t.Error("an unused registry counts something")
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c := Call{Operation: "ssh.exec", Duration: time.Duration(i+1) * time.Millisecond, Bytes: 2}
			if i%4 == 0 {
				c.Code = "TIMEOUT"
			}
			r.Record(c)
		})
	}
	wg.Wait()
	r.Record(Call{Operation: "other", Duration: time.Second})
	s := r.Snapshot()
	exec := s["ssh.exec"]
	if exec.Calls != 100 || exec.Bytes != 200 || exec.Errors["TIMEOUT"] != 25 || exec.Min != 0.001 || exec.Max != 0.1 || exec.Mean != 0.0505 {
		t.Errorf("got %+v", exec)
	}
	if o := s["other"]; o.Calls != 1 || o.Min != 1 || o.Mean != 1 || len(o.Errors) != 0 {
		t.Errorf("got %+v", o)
	}
	exec.Errors["TIMEOUT"] = 0
	if r.Snapshot()["ssh.exec"].Errors["TIMEOUT"] != 25 {
		t.Error("a snapshot shares the registry's memory")
	}
}
