package embedded

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
)

func TestMetricsAreWhatTheStoreDoes(t *testing.T) {
	s := openIn(t, storeDir(t), nil)
	for i := range 5 {
		if _, err := s.Write(t.Context(), sample(i, 1), store.Change{Key: fhir.Key{Type: "Device", ID: "d"}, JSON: []byte(`{"resourceType":"Device"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	name := regexp.MustCompile(`^store_[a-z_]+$`)
	values := map[string]float64{}
	for _, m := range s.Metrics() {
		if !name.MatchString(m.Name) || !strings.HasSuffix(m.Help, ".") || m.Counter != strings.HasSuffix(m.Name, "_total") || m.Value < 0 {
			t.Errorf("%+v", m)
		}
		key := m.Name + m.Label[1]
		if _, twice := values[key]; twice {
			t.Errorf("%s comes twice", key)
		}
		values[key] = m.Value
	}
	for key, want := range map[string]float64{"store_resourcesObservation": 5, "store_resourcesDevice": 1, "store_writes_total": 5, "store_commits_total": 5} {
		if values[key] != want {
			t.Errorf("%s is %v, want %v", key, values[key], want)
		}
	}
	for _, key := range []string{"store_disk_bytes", "store_free_bytes", "store_log_bytes", "store_memtable_bytes"} {
		if values[key] <= 0 {
			t.Errorf("%s is %v", key, values[key])
		}
	}
	s.Close()
	if got := s.Metrics(); got != nil {
		t.Errorf("a closed store has %v", got)
	}
}
