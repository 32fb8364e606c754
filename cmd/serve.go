package cmd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/rest"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/embedded"
	"github.com/kiln-health/kiln/store/mongo"
)

// demoStore is where --demo keeps its simulated patients, apart from real ones.
const demoStore = "embedded:./kiln-demo"

func (p *program) serve() *cobra.Command {
	var file, listen, storeName string
	var demo, insecure bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take payloads in and serve FHIR",
		Long: `Take payloads in at /ingest and serve FHIR at /fhir. No database is needed: resources are
kept in a directory, or in MongoDB if the store is one.

  POST /ingest/{adapter}      a device payload; GET /ingest/quarantine lists what needs attention
  GET  /fhir/metadata         what the FHIR API can do; /openapi.json says it for other tools
  GET  /healthz /readyz /metrics

The server ends on SIGINT or SIGTERM after the requests in flight. Killed at any instant
it loses nothing that it has acknowledged.`,
		Example: `  kiln serve --demo
  kiln serve --config kiln.yaml --store embedded:/var/lib/kiln
  KILN_STORE='mongodb://kiln:PASSWORD@db1,db2,db3/kiln?replicaSet=rs0' kiln serve`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := readConfig(file)
			if err != nil {
				return err
			}
			if listen != "" {
				config.Listen = listen
			}
			if demo && file == "" {
				config.Store = demoStore
			}
			if storeName != "" {
				config.Store = storeName
			}
			config.Insecure = config.Insecure || insecure
			return p.serveConfig(c.Context(), config, demo)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "configuration file; see `kiln config`")
	f.StringVar(&listen, "listen", "", "address to listen at (default 127.0.0.1:8080)")
	f.StringVar(&storeName, "store", "", "embedded:DIRECTORY, mongodb://HOST/DATABASE, or memory: (default embedded:./kiln-data)")
	f.BoolVar(&demo, "demo", false, "run simulated devices; their store is "+demoStore+" unless told otherwise")
	f.BoolVar(&insecure, "insecure", false, "listen beyond this machine without authentication")
	return c
}

func (p *program) logger(c LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(p.err, options))
	}
	return slog.New(slog.NewTextHandler(p.err, options))
}

// servable is what a server needs of a store.
type servable interface {
	store.Store
	store.Journal
	store.Monitored
}

// openStore opens a store by its name. Its errors have no password in them.
func openStore(ctx context.Context, name string, logger *slog.Logger) (servable, error) {
	kind, where, err := parseStore(name)
	if err != nil {
		return nil, &failure{ExitUsage, fmt.Errorf("--store %s: %w", shownStore(name), err)}
	}
	var s servable
	switch kind {
	case "mongodb":
		s, err = mongo.Open(ctx, where, &mongo.Options{Logger: logger, Load: storedParameters})
	case "memory":
		s, err = embedded.OpenMemory(servedOptions(logger))
	default:
		if where, err = filepath.Abs(where); err == nil {
			s, err = embedded.Open(where, servedOptions(logger))
		}
	}
	if err != nil {
		return nil, noRun("%w", err)
	}
	return s, nil
}

func servedOptions(logger *slog.Logger) *embedded.Options {
	return &embedded.Options{Logger: logger, Load: storedParameters, Fatal: func(err error) {
		logger.Error("the store can neither go on nor go back; what was acknowledged is safe", "error", err)
		os.Exit(ExitNoRun)
	}}
}

// storedParameters are the search parameters of a server whose store has SearchParameters.
func storedParameters(stored iter.Seq2[fhir.Resource, error]) (*search.Parameters, error) {
	return rest.StoredParameters(search.R4(), stored)
}

// shutdownTime is how long requests in flight may take when the server ends.
const shutdownTime = 10 * time.Second

func (p *program) serveConfig(ctx context.Context, c *Config, demo bool) error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return &failure{ExitUsage, fmt.Errorf("--listen %s: want host:port, as 127.0.0.1:8080", c.Listen)}
	}
	if !loopback(c.Listen) && !c.Insecure {
		return &failure{ExitUsage, fmt.Errorf("%s is reachable from other machines, and nobody is authenticated\n  = fix: listen at 127.0.0.1 behind a proxy that authenticates, or accept it with --insecure", c.Listen)}
	}
	sources, err := c.sources()
	if err != nil {
		return failed("%w", err)
	}
	logger := p.logger(c.Log)
	s, err := openStore(ctx, c.Store, logger)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			logger.Error("the store did not close well", "error", err)
		}
	}()
	stopControl := p.control(s, c.Store, logger) // kiln backup and kiln verify of the running server
	defer stopControl()
	m := newMetrics(s)
	pipeline, err := ingest.New(ingest.Options{Store: s, Registry: p.registry, Sources: sources, Logger: logger, Observe: m.payload})
	if err != nil {
		return noRun("%w", err)
	}
	if n, err := pipeline.Recover(ctx); err != nil {
		return noRun("payloads of the inbox cannot be stored: %w", err)
	} else if n > 0 {
		logger.Info("stored what the last run left in the inbox", "payloads", n)
	}

	ctx, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer func() {
		stop()
		background.Wait()
	}()
	mux := http.NewServeMux()
	fhirAPI := rest.New(s, rest.Options{
		BaseURL:           c.BaseURL,
		Handling:          search.Handling(c.Handling),
		Validation:        rest.Validation(c.Validation),
		DeviceRules:       rest.DeviceRules(c.DeviceRules),
		ConditionalDelete: rest.ConditionalDelete(c.ConditionalDelete),
		CORS:              c.CORS,
		MaxBody:           int64(c.Limits.Resource),
		Background:        func(work func(context.Context)) { background.Go(func() { work(ctx) }) },
		Software:          rest.Software{Version: release},
		Logger:            logger,
		Observe:           m.request,
	})
	payloads := ingest.Handler(pipeline, ingest.HTTPOptions{MaxBody: int64(c.Limits.Payload), Logger: logger, Observe: m.request})
	mux.Handle("/fhir", fhirAPI)
	mux.Handle("/fhir/", fhirAPI)
	mux.Handle("/openapi.json", fhirAPI)
	mux.Handle("/ingest", payloads)
	mux.Handle("/ingest/", payloads)
	mux.Handle("/metrics", m.handler())
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Check(r.Context()); err != nil {
			logger.Error("not ready", "error", err)
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
		if busy, ok := s.(interface{ Progress() string }); ok && busy.Progress() != "" {
			fmt.Fprintln(w, busy.Progress())
		}
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "kiln: device payloads in at /ingest, FHIR out at /fhir (begin with /fhir/metadata)\n")
	})

	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return noRun("%w\n  = fix: another program uses the port; choose one with --listen 127.0.0.1:8081", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	demoDone := make(chan struct{})
	go func() {
		defer close(demoDone)
		if demo {
			runDemo(ctx, pipeline, logger)
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	fmt.Fprintf(p.err, "kiln serves FHIR at http://%s/fhir and takes payloads at http://%s/ingest (store %s, process %d)\n", l.Addr(), l.Addr(), shownStore(c.Store), os.Getpid())

	select {
	case err = <-ended:
		stop()
	case <-ctx.Done():
		logger.Info("ending")
		grace, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		err = server.Shutdown(grace)
		<-ended
	}
	<-demoDone
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return noRun("%w", err)
	}
	return nil
}
