package server

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		p := &progress{token: "tok", highest: -1, send: func(method string, params map[string]any) error {
			got = append(got, fmt.Sprintf("%s %v %s", method, params, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))))
			return nil
		}}
		for i := range int64(100) {
			p.report(i, 100, "")
			time.Sleep(5 * time.Millisecond)
		}
		p.report(50, 100, "a report that is late")
		p.end()
		p.report(100, 100, "after the end")
		want := []string{
			"notifications/progress map[progress:0 progressToken:tok total:100] 0s",
			"notifications/progress map[progress:40 progressToken:tok total:100] 200ms",
			"notifications/progress map[progress:80 progressToken:tok total:100] 400ms",
			"notifications/progress map[progress:99 progressToken:tok total:100] 500ms",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

func TestNoProgressTokenIsFree(t *testing.T) {
	c := &call{}
	if n := testing.AllocsPerRun(10, func() { c.progress(1, 2, "x"); c.reporter.end() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
