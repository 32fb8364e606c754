package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/kiln-health/kiln/fhir"
)

// Held is a payload in quarantine, without its content.
type Held struct {
	ID        string       `json:"id"`
	Adapter   string       `json:"adapter,omitempty"`
	Source    string       `json:"source,omitempty"`
	MediaType string       `json:"mediaType,omitempty"`
	Received  time.Time    `json:"received"`
	Bytes     int          `json:"bytes"`
	Issues    []fhir.Issue `json:"issues"`
}

func (p *Pipeline) held(ctx context.Context, id string) (*entry, error) {
	b, err := p.o.Store.Fetch(ctx, quarantine, id)
	if err != nil {
		return nil, fmt.Errorf("ingest: quarantine: %w", err)
	}
	return unmarshal(id, b)
}

func (e *entry) held() Held {
	return Held{e.ID, e.Adapter, e.Source, e.MediaType, e.Received, e.Bytes, orEmpty(e.Issues)}
}

// Quarantine lists at most limit payloads in the order in which they came, beginning
// behind the id after.
func (p *Pipeline) Quarantine(ctx context.Context, after string, limit int) ([]Held, error) {
	ids, err := p.o.Store.Entries(ctx, quarantine, after, limit)
	if err != nil {
		return nil, fmt.Errorf("ingest: quarantine: %w", err)
	}
	list := make([]Held, 0, len(ids))
	for _, id := range ids {
		e, err := p.held(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, e.held())
	}
	return list, nil
}

// Held is one payload in quarantine. store.ErrNotFound if there is none of that id.
func (p *Pipeline) Held(ctx context.Context, id string) (Held, error) {
	e, err := p.held(ctx, id)
	if err != nil {
		return Held{}, err
	}
	return e.held(), nil
}

// Body is the content of a payload in quarantine, byte for byte, with its media type.
func (p *Pipeline) Body(ctx context.Context, id string) (body []byte, mediaType string, err error) {
	e, err := p.held(ctx, id)
	if err != nil {
		return nil, "", err
	}
	return e.body, e.MediaType, nil
}

// Replay converts a payload in quarantine again. What correct states replaces what the
// sender had stated; what it leaves empty stays. The payload leaves the quarantine when
// every row is resolved. Errors are those of Accept.
func (p *Pipeline) Replay(ctx context.Context, id string, correct Origin) (Receipt, error) {
	e, err := p.held(ctx, id)
	if err != nil {
		return Receipt{}, err
	}
	for _, part := range []struct{ to, from *string }{
		{&e.Adapter, &correct.Adapter}, {&e.Source, &correct.Source}, {&e.Zone, &correct.Zone}, {&e.Patient, &correct.Patient},
	} {
		if *part.from != "" {
			*part.to = *part.from
		}
	}
	if err := p.check(e.Origin); err != nil {
		return Receipt{}, err
	}
	e.Issues = nil
	return p.process(ctx, quarantine, e)
}

// Discard takes a payload out of quarantine for good.
func (p *Pipeline) Discard(ctx context.Context, id string) error {
	if _, err := p.held(ctx, id); err != nil {
		return err
	}
	if err := p.o.Store.Remove(ctx, quarantine, id); err != nil {
		return fmt.Errorf("ingest: quarantine: %w", err)
	}
	return nil
}
