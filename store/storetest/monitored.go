package storetest

import (
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/kiln-health/kiln/store"
)

var (
	metricName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	patient    = "Jane-Roe-4711" // stands for what must not be told of anybody
)

func testMonitored(t *testing.T, s store.Store) {
	m := needs[store.Monitored](t, s)
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("a store without faults says %v", err)
	}
	before := checkMetrics(t, m.Metrics())
	write(t, s, put(patient, heartRate(patient, "2026-01-02", "72")), put(patient, device(patient)), put(patient, `{"resourceType":"Patient","name":[{"family":"`+patient+`"}]}`))
	write(t, s, store.Change{Key: key("Device", patient), Delete: true})
	find(t, s, "Observation?patient="+patient)
	if _, err := s.Write(t.Context(), store.Change{Key: key("Device", patient), JSON: []byte("{")}); err == nil {
		t.Error("a write of no resource was accepted")
	}
	after := checkMetrics(t, m.Metrics())
	for name, was := range before {
		is, ok := after[name]
		if was.Counter && (!ok || is.Value < was.Value) {
			t.Errorf("%s was %v and is %v: a counter only grows", name, was.Value, is.Value)
		}
	}
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("a store without faults says %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				m.Metrics()
				if err := m.Check(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		write(t, s, put("a", device("text")))
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if m.Check(t.Context()) == nil {
		t.Error("a closed store has nothing to say")
	}
	checkMetrics(t, m.Metrics())
}

// checkMetrics looks at the form of metrics, and gives them by name and label.
func checkMetrics(t *testing.T, metrics []store.Metric) map[string]store.Metric {
	t.Helper()
	all, first := map[string]store.Metric{}, map[string]store.Metric{}
	for _, m := range metrics {
		name := m.Name + "{" + m.Label[0] + "=" + m.Label[1] + "}"
		if !metricName.MatchString(m.Name) || strings.HasPrefix(m.Name, "kiln_") {
			t.Errorf("%s: want lower case, digits and single underscores, without the name of the program", name)
		}
		if m.Help == "" || strings.ContainsAny(m.Help, "\n\r") {
			t.Errorf("%s: the help is %q", name, m.Help)
		}
		if m.Counter != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%s: counter is %v: counters end in _total, and nothing else does", name, m.Counter)
		}
		if (m.Label[0] == "") != (m.Label[1] == "") || m.Label[0] != "" && !metricName.MatchString(m.Label[0]) {
			t.Errorf("%s: want a label with a name and a value, or none", name)
		}
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) || m.Counter && m.Value < 0 {
			t.Errorf("%s is %v", name, m.Value)
		}
		if strings.Contains(strings.ToLower(name+m.Help), strings.ToLower(patient)) {
			t.Errorf("%s: names a patient", name)
		}
		if _, twice := all[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		if other, ok := first[m.Name]; ok && (other.Help != m.Help || other.Counter != m.Counter || other.Label[0] != m.Label[0]) {
			t.Errorf("%s: another help, kind or label name than before", name)
		}
		all[name], first[m.Name] = m, m
	}
	return all
}
