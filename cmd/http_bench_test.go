package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
)

// Run with: go test -tags nomsgpack -run - -bench HTTP -benchtime 5s ./cmd

const (
	benchClients      = 16
	benchPatients     = 100
	benchObservations = 100_000
)

var measured = []struct{ loinc, mdc, name, unit, value string }{
	{"8867-4", "147842", "Heart rate", "/min", "72"},
	{"9279-1", "151562", "Respiratory rate", "/min", "16"},
	{"8310-5", "150364", "Body temperature", "Cel", "36.8"},
	{"59408-5", "150456", "Oxygen saturation", "%", "97"},
	{"29463-7", "188736", "Body weight", "kg", "71.4"},
	{"8302-2", "188740", "Body height", "cm", "172"},
	{"39156-5", "188752", "Body mass index", "kg/m2", "24.1"},
	{"8480-6", "150017", "Systolic blood pressure", "mm[Hg]", "121"},
	{"8462-4", "150018", "Diastolic blood pressure", "mm[Hg]", "78"},
	{"2339-0", "160184", "Glucose", "mg/dL", "98"},
}

// measurement is a 1.1 KB Observation as a monitor sends it. One follows the other by a
// second. Without an id the member is left out.
func measurement(id string, i int) []byte {
	if id != "" {
		id = `"id":"` + id + `",`
	}
	m := measured[i%len(measured)]
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	return fmt.Appendf(nil,
		`{"resourceType":"Observation",%s"identifier":[{"system":"https://hospital.example/readings","value":"%032d"}],"status":"final",`+
			`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],`+
			`"code":{"coding":[{"system":"http://loinc.org","code":"%s"},{"system":"urn:iso:std:iso:11073:10101","code":"%s"}],"text":"%s"},`+
			`"subject":{"reference":"Patient/%s"},"effectiveDateTime":"%s","issued":"%s",`+
			`"valueQuantity":{"value":%s,"unit":"%s","system":"http://unitsofmeasure.org","code":"%s"},`+
			`"device":{"reference":"Device/monitor-%02d"}}`,
		id, i, m.loinc, m.mdc, m.name, benchPatient(i), at.Format(time.RFC3339), at.Format("2006-01-02T15:04:05.000Z07:00"),
		m.value, m.unit, m.unit, i%20)
}

func benchPatient(i int) string { return fmt.Sprintf("patient-%02d", i/len(measured)%benchPatients) }

// serveHere serves the FHIR API of a store from this process, and gives host:port.
func serveHere(tb testing.TB, s *embedded.Store) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	api := rest.New(s, rest.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Observe: newMetrics(s).request})
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

func storeHere(tb testing.TB) *embedded.Store {
	tb.Helper()
	s, err := embedded.Open(tb.TempDir(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// BenchmarkHTTP asks a server for what an EHR and a gateway ask, with 16 clients that keep
// their connections, on a durable store with 100,000 Observations of 100 patients. The aims, on
// two processors of which the clients take a part: 20,000 reads/s, 2,000 pages/s, 10,000
// creates/s, 15,000 resources/s in transactions.
//
// server-cpu-us/req is the processor time of the process, compactions that follow included,
// less that of the clients. Their share is what the same requests and answers cost with a responder
// that only reads and writes them: what the server itself spends in two system calls
// counts as the clients'.
func BenchmarkHTTP(b *testing.B) {
	s := storeHere(b)
	for i := 0; i < benchObservations; {
		var changes []store.Change
		for ; i < benchObservations && len(changes) < 1000; i++ {
			id := benchID(i)
			changes = append(changes, store.Change{Key: fhir.Key{Type: "Observation", ID: id}, JSON: measurement(id, i)})
		}
		if _, err := s.Write(context.Background(), changes...); err != nil {
			b.Fatal(err)
		}
	}
	for i := range benchPatients {
		id := benchPatient(i * len(measured))
		if _, err := s.Write(context.Background(), store.Change{Key: fhir.Key{Type: "Patient", ID: id}, JSON: []byte(`{"resourceType":"Patient","id":"` + id + `"}`)}); err != nil {
			b.Fatal(err)
		}
	}
	server := serveHere(b, s)
	for _, kind := range []struct {
		name, unit string
		of         int // units in a request
		status     int
		requests   int // that differ
		request    func(i int) []byte
	}{
		{"reads", "reads/s", 1, 200, 10_000, func(i int) []byte {
			return asking("GET", "/fhir/Observation/"+benchID(i*7919%benchObservations), nil)
		}},
		{"pages", "pages/s", 1, 200, 1000, func(i int) []byte {
			code := measured[i%len(measured)].loinc
			return asking("GET", "/fhir/Observation?patient="+benchPatient(i)+"&code=http://loinc.org%7C"+code+"&date=ge2026-01-01T02:00:00Z&_sort=-date&_count=50", nil)
		}},
		{"creates", "creates/s", 1, 201, 5000, func(i int) []byte {
			return asking("POST", "/fhir/Observation", measurement("", benchObservations+i))
		}},
		{"transactions", "resources/s", 100, 200, 100, func(i int) []byte {
			body := []byte(`{"resourceType":"Bundle","type":"transaction","entry":[`)
			for j := range 100 {
				if j > 0 {
					body = append(body, ',')
				}
				body = append(body, `{"resource":`...)
				body = append(body, measurement("", 2*benchObservations+100*i+j)...)
				body = append(body, `,"request":{"method":"POST","url":"Observation"}}`...)
			}
			return asking("POST", "/fhir", append(body, `]}`...))
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			requests := make([][]byte, kind.requests)
			for i := range requests {
				requests[i] = kind.request(i)
			}
			settle(b)
			begin := processorTime(b)
			b.ResetTimer()
			answered, err := drive(server, b.N, kind.status, requests)
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			settle(b)
			all := processorTime(b) - begin
			share := clientShare(b, answered/b.N, kind.status, requests)
			perRequest := all / time.Duration(b.N)
			b.ReportMetric(float64(b.N*kind.of)/b.Elapsed().Seconds(), kind.unit)
			b.ReportMetric(float64((perRequest-share).Nanoseconds())/1000, "server-cpu-us/req")
			b.ReportMetric(float64(share.Nanoseconds())/1000, "client-cpu-us/req")
			b.ReportMetric(float64(answered/b.N)/1000, "kB/answer")
		})
	}
}

func benchID(i int) string { return fhir.HashID("measurement", strconv.Itoa(i)) }

func asking(method, target string, body []byte) []byte {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kiln-benchmark\r\nAccept: application/fhir+json\r\n", method, target)
	if body != nil {
		head = fmt.Appendf(head, "Content-Type: application/fhir+json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(head, "\r\n"...), body...)
}

// drive sends n requests with 16 clients and gives the bytes of the answers' bodies.
func drive(server string, n, status int, requests [][]byte) (answered int, err error) {
	var next, size atomic.Int64
	failed := make(chan error, benchClients)
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			c, err := net.Dial("tcp", server)
			if err != nil {
				failed <- err
				return
			}
			defer c.Close()
			in := bufio.NewReaderSize(c, 64<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				got, err := ask(c, in, requests[i%len(requests)], status)
				if err != nil {
					failed <- err
					return
				}
				size.Add(got)
			}
		})
	}
	clients.Wait()
	select {
	case err = <-failed:
	default:
	}
	return int(size.Load()), err
}

func ask(c net.Conn, in *bufio.Reader, request []byte, status int) (size int64, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 2000))
		return 0, fmt.Errorf("got %s, want %d: %s", answer.Status, status, said)
	}
	return io.Copy(io.Discard, answer.Body)
}

// settle waits until the process has nothing to do, or 30 seconds.
func settle(b *testing.B) {
	b.Helper()
	const pause = 50 * time.Millisecond
	for range 30 * time.Second / pause {
		begin := processorTime(b)
		time.Sleep(pause)
		if processorTime(b)-begin < pause/25 {
			return
		}
	}
}

// clientShare is the processor time that the clients take for a request with an answer of
// that size: the least of three measurements.
func clientShare(b *testing.B, size, status int, requests [][]byte) time.Duration {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	answer := fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nContent-Type: application/fhir+json; charset=utf-8\r\nEtag: W/\"1\"\r\n"+
		"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nX-Request-Id: 00000000-0000-0000-0000-000000000000\r\nContent-Length: %d\r\n\r\n", status, size)
	answer = append(answer, bytes.Repeat([]byte{' '}, size)...)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go respond(c, answer)
		}
	}()
	n := 500_000_000 / (len(requests[0]) + size + 50_000)
	least := time.Duration(-1)
	for range 3 {
		begin := processorTime(b)
		if _, err := drive(l.Addr().String(), n, status, requests); err != nil {
			b.Fatal(err)
		}
		if took := (processorTime(b) - begin) / time.Duration(n); least < 0 || took < least {
			least = took
		}
	}
	return least
}

// respond answers every request alike.
func respond(c net.Conn, answer []byte) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(value[:len(value)-2])) // our own clients
			}
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// processorTime is that of the whole process so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
