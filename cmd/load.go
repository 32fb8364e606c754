package cmd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiln-health/kiln/store"
)

// Limits of kiln load.
const (
	maxLoadPatients     = 10_000_000
	maxLoadObservations = 100_000_000_000
	maxLoadBatch        = 10_000
	maxLoadWriters      = 256
)

// loadUntil is where the readings end unless told otherwise: the same every day, so that a second
// load finds what the first has written.
const loadUntil = "2026-01-01T00:00:00Z"

func (p *program) load() *cobra.Command {
	var file, storeName, until string
	var patients, observations int64
	var seed uint64
	var batch, writers int
	c := &cobra.Command{
		Use:   "load --patients N --observations M",
		Short: "Fill a store with synthetic vital signs, to size it",
		Long: `Write synthetic patients, their devices, and what those would have measured: heart rate, oxygen
saturation and respiratory rate every minute, glucose every 5, blood pressure every 15, temperature
every hour, weight every day, with slow drifts, as the adapters would have made them. The readings of all
patients together are M, and go back from --until as long as it takes.

The same options give the same readings under the same ids: a load that was broken off goes on
when it is run again, and writes nothing twice. More observations are those of before and
older ones. Nothing of it looks like a real patient's: identifiers are of systems of Kiln's own, and
patients are labelled HTEST.`,
		Example: `  kiln load --patients 100 --observations 100000 --store embedded:./sizing`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			end, err := time.Parse(time.RFC3339, until)
			switch {
			case err != nil || end.Year() < 2000 || end.Year() > 9998:
				return errors.New("--until: want a time of the years 2000 to 9998, as " + loadUntil)
			case patients < 1 || patients > maxLoadPatients:
				return fmt.Errorf("--patients: want 1 to %d", maxLoadPatients)
			case observations < 1 || observations > maxLoadObservations:
				return fmt.Errorf("--observations: want 1 to %d", maxLoadObservations)
			case batch < 1 || batch > maxLoadBatch:
				return fmt.Errorf("--batch: want 1 to %d", maxLoadBatch)
			case writers < 1 || writers > maxLoadWriters:
				return fmt.Errorf("--writers: want 1 to %d", maxLoadWriters)
			}
			w, err := newWard(patients, observations, seed, fixed(end))
			if err != nil {
				return fmt.Errorf("--observations: %w", err)
			}
			s, name, err := p.openArchive(c.Context(), file, storeName, false)
			if err != nil {
				return err
			}
			l := &loading{ward: w, store: s, batch: batch, writers: writers}
			return errors.Join(p.loadStore(c.Context(), l, name), closed(s))
		},
	}
	archiveFlags(c, &file, &storeName)
	f := c.Flags()
	f.Int64Var(&patients, "patients", 0, "how many patients")
	f.Int64Var(&observations, "observations", 0, "how many observations, of all patients together")
	f.StringVar(&until, "until", loadUntil, "when the readings end")
	f.Uint64Var(&seed, "seed", 1, "another number gives other patients, with other values")
	f.IntVar(&batch, "batch", 1000, "observations of one write")
	f.IntVar(&writers, "writers", 2, "writes at a time")
	return c
}

// fixed is a time whose zone has one offset: that of --until, whatever the zone of this machine.
func fixed(t time.Time) time.Time {
	_, offset := t.Zone()
	if offset == 0 {
		return t.UTC()
	}
	return t.In(time.FixedZone("", offset))
}

// loading is a load as it goes on.
type loading struct {
	*ward
	store          archive
	batch, writers int

	written                     atomic.Int64 // observations
	created, updated, unchanged atomic.Int64 // resources
	bytes                       atomic.Int64 // JSON of observations that were created or updated
	newObservations             atomic.Int64
}

func (p *program) loadStore(ctx context.Context, l *loading, name string) error {
	progress, done := p.stages()
	defer done()
	before := metric(l.store, "store_disk_bytes")
	if err := l.write(ctx, l.people, func() {}); err != nil {
		return noRun("patients and devices: %w", err)
	}
	begin := time.Now()
	err := l.write(ctx, l.each, func() { progress("loading", l.written.Load(), l.observations) })
	took := time.Since(begin)
	done()
	if err != nil {
		return noRun("%d observations were written: %w\n  = fix: the same command goes on", l.written.Load(), err)
	}
	rate := float64(l.observations) / took.Seconds()
	fmt.Fprintf(p.out, "%s: %d patients with %d observations from %s to %s: %d resources created, %d updated, %d unchanged\n", name, l.patients, l.observations,
		l.first().Format(time.RFC3339), l.until.Format(time.RFC3339), l.created.Load(), l.updated.Load(), l.unchanged.Load())
	fmt.Fprintf(p.out, "%s, %.0f observations/s in writes of %d by %d writers\n", took.Round(time.Millisecond), rate, l.batch, l.writers)
	if n := float64(l.newObservations.Load()); n > 0 {
		fmt.Fprintf(p.out, "%.0f bytes of JSON for each observation", float64(l.bytes.Load())/n)
		if after := metric(l.store, "store_disk_bytes"); after > before {
			fmt.Fprintf(p.out, "; %.0f on disk, before compaction has ended (%s altogether)", (after-before)/n, megabytes(int64(after)))
		}
		fmt.Fprintln(p.out)
	}
	return nil
}

// people calls f with all patients and devices.
func (w *ward) people(f func(store.Change) error) error {
	for p := range w.patients {
		all, err := w.resources(p)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := f(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes all changes, which one goroutine makes, in batches, by several others.
func (l *loading) write(ctx context.Context, each func(func(store.Change) error) error, told func()) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	batches := make(chan []store.Change)
	var writers sync.WaitGroup
	for range l.writers {
		writers.Go(func() {
			for b := range batches {
				if ctx.Err() != nil {
					continue
				}
				if err := l.one(ctx, b); err != nil {
					stop(err)
				}
			}
		})
	}
	var next []store.Change
	send := func() error {
		select {
		case batches <- next:
			next = nil
			told()
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := each(func(c store.Change) error {
		if next == nil {
			next = make([]store.Change, 0, l.batch)
		}
		if next = append(next, c); len(next) < l.batch {
			return nil
		}
		return send()
	})
	if err == nil && len(next) > 0 {
		err = send()
	}
	close(batches)
	writers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (l *loading) one(ctx context.Context, changes []store.Change) error {
	results, err := l.store.Write(ctx, changes...)
	if err != nil {
		return err
	}
	for i := range results {
		r := &results[i]
		observation := r.Type == "Observation"
		if observation {
			l.written.Add(1)
		}
		if r.Unchanged {
			l.unchanged.Add(1)
			continue
		}
		if r.Created {
			l.created.Add(1)
		} else {
			l.updated.Add(1)
		}
		if observation {
			l.newObservations.Add(1)
			l.bytes.Add(int64(len(r.JSON)))
		}
	}
	return nil
}
