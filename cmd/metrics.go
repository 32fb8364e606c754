package cmd

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/store"
)

// metrics are what /metrics tells. Labels are routes, methods, status codes and names of
// adapters: never an id, a code or a value.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	payloads *prometheus.CounterVec
	rows     *prometheus.CounterVec
}

func newMetrics(s store.Monitored) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kiln_http_request_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"route", "method", "status"}),
		payloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kiln_payloads_total", Help: "Payloads by what became of them."}, []string{"adapter", "outcome"}),
		rows:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kiln_rows_total", Help: "Rows of payloads by what became of them."}, []string{"adapter", "outcome"}),
	}
	m.registry.MustRegister(m.requests, m.payloads, m.rows, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), storeMetrics{s})
	return m
}

// storeMetrics are those that a store tells, which ones it only knows when it is asked.
type storeMetrics struct{ store store.Monitored }

// Describe says nothing: there is no list.
func (storeMetrics) Describe(chan<- *prometheus.Desc) {}

func (s storeMetrics) Collect(to chan<- prometheus.Metric) {
	for _, m := range s.store.Metrics() {
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		var label, value []string
		if m.Label[0] != "" {
			label, value = m.Label[:1], m.Label[1:]
		}
		metric, err := prometheus.NewConstMetric(prometheus.NewDesc("kiln_"+m.Name, m.Help, label, nil), kind, m.Value, value...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		to <- metric
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(route, method string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, known(method), strconv.Itoa(status)).Observe(took.Seconds())
}

// known keeps a stranger from making label values.
func known(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func (m *metrics) payload(adapter string, outcome ingest.Outcome, c adapters.Conversion) {
	if adapter == "" {
		adapter = "none"
	}
	m.payloads.WithLabelValues(adapter, string(outcome)).Inc()
	m.rows.WithLabelValues(adapter, "mapped").Add(float64(c.Mapped))
	m.rows.WithLabelValues(adapter, "skipped").Add(float64(len(c.Skipped)))
}
