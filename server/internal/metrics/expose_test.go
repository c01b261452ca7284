package metrics

import (
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape asks the handler as a scraper that accepts one format does.
func scrape(t *testing.T, r *Registry, accept string) (families map[string]*dto.MetricFamily, format expfmt.Format, body string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	body = w.Body.String()
	format = expfmt.ResponseFormat(w.Header())
	families = map[string]*dto.MetricFamily{}
	decoder := expfmt.NewDecoder(strings.NewReader(body), format)
	for {
		f := &dto.MetricFamily{}
		switch err := decoder.Decode(f); {
		case err == io.EOF:
			return families, format, body
		case err != nil:
			t.Fatalf("%s: %v", format, err)
		}
		families[f.GetName()] = f
	}
}

const (
	text     = "text/plain;version=0.0.4"
	metrics1 = "application/openmetrics-text;version=1.0.0"
	protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

func total(t *testing.T, r *Registry, name string) (sum float64) {
	t.Helper()
	families, _, _ := scrape(t, r, text)
	for _, m := range families[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

// labels are the values of each label of this project's metrics.
func labels(t *testing.T, r *Registry) map[string]map[string]bool {
	t.Helper()
	families, _, _ := scrape(t, r, text)
	all := map[string]map[string]bool{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if all[l.GetName()] == nil {
					all[l.GetName()] = map[string]bool{}
				}
				if strings.HasPrefix(name, prefix) {
					all[l.GetName()][l.GetValue()] = true
				}
			}
		}
	}
	return all
}

func TestFormats(t *testing.T) {
	r := registry(1)
	r.Durations("pool_dial_duration_seconds", "Dials.")(time.Millisecond)
	for range 10 {
		r.Record(Call{Operation: "ssh.exec", Profile: "web-1", Duration: 30 * time.Millisecond, Code: "TIMEOUT"})
	}
	const name = prefix + "operation_duration_seconds"
	for _, accept := range []string{text, protobuf} {
		families, _, _ := scrape(t, r, accept)
		h := families[name].GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 10 || len(h.GetBucket()) < len(classic) || h.GetBucket()[6].GetUpperBound() != 0.05 || h.GetBucket()[6].GetCumulativeCount() != 10 {
			t.Errorf("%s: classic %v", accept, h)
		}
		if native := len(h.GetPositiveSpan()) > 0; native != (accept == protobuf) {
			t.Errorf("%s: native is %v", accept, native)
		}
		if f := families[prefix+"pool_dial_duration_seconds"]; f.GetMetric()[0].GetHistogram().GetSampleCount() != 1 {
			t.Errorf("%s: dials %v", accept, f)
		}
		for n, f := range families {
			if f.GetHelp() == "" || !model.LegacyValidation.IsValidMetricName(n) || f.GetType() == dto.MetricType_COUNTER && !strings.HasSuffix(n, "_total") {
				t.Errorf("%s: %v has no help or a bad name", n, f.GetType())
			}
		}
	}
	_, format, body := scrapeRaw(t, r, metrics1)
	if !strings.Contains(format, "openmetrics") || !strings.HasSuffix(body, "# EOF\n") || !strings.Contains(body, "# TYPE openaccess_mcp_operations counter") {
		t.Errorf("%s: %.300s", format, body)
	}
}

func scrapeRaw(t *testing.T, r *Registry, accept string) (status int, format, body string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

func TestWatch(t *testing.T) {
	type state struct {
		open  int
		grown int64
		ratio float64
	}
	r := registry(0)
	now := state{3, 4, math.NaN()}
	reads := 0
	Watch(r, func() state { reads++; return now },
		Gauge("open", "Open.", func(s state) int { return s.open }),
		Counter("grown_total", "Grown.", func(s state) int64 { return s.grown }, "kind", "tall"),
		Gauge("ratio", "Unknown at first.", func(s state) float64 { return s.ratio }))
	families, _, _ := scrape(t, r, text)
	if reads != 1 {
		t.Errorf("read %d times", reads)
	}
	if v := families[prefix+"open"].GetMetric()[0].GetGauge().GetValue(); v != 3 {
		t.Errorf("open %v", v)
	}
	grown := families[prefix+"grown_total"].GetMetric()[0]
	if grown.GetCounter().GetValue() != 4 || grown.GetLabel()[0].GetName() != "kind" || grown.GetLabel()[0].GetValue() != "tall" {
		t.Errorf("grown %v", grown)
	}
	if families[prefix+"ratio"] != nil {
		t.Error("what is not known is shown")
	}
	now.ratio = 0.5
	if total(t, r, prefix+"ratio") != 0.5 {
		t.Error("the next scrape does not read again")
	}
}

func TestProcess(t *testing.T) {
	p := ReadProcess()
	if runtime.GOOS != "linux" {
		if p != unknown {
			t.Errorf("got %+v", p)
		}
		return
	}
	if p.Virtual < p.Resident || p.Resident < 1<<20 || p.CPU < 0 || p.Threads < 2 || p.Descriptors < 3 || p.MaxDescriptors < p.Descriptors || p.Sockets < 0 {
		t.Errorf("got %+v", p)
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	more := ReadProcess()
	srv.Close()
	if more.Sockets != p.Sockets+1 {
		t.Errorf("a listener more makes %d sockets of %d", more.Sockets, p.Sockets)
	}
	families, _, _ := scrape(t, registry(0), text)
	for _, name := range []string{prefix + "process_threads", prefix + "process_sockets", "process_virtual_memory_bytes", "process_resident_memory_bytes",
		"process_cpu_seconds_total", "process_open_fds", "go_goroutines", "go_gc_duration_seconds"} {
		if families[name] == nil {
			t.Errorf("no %s among %v", name, slices.Sorted(maps.Keys(families)))
		}
	}
}
