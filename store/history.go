package store

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// MaxHistory is how many versions a page of a history has at most.
const MaxHistory = 10000

// ErrNoPlace says that HistoryQuery.Before is no place of the history. It is ErrNotFound.
var ErrNoPlace = fmt.Errorf("the place to go on from is not one of this history, follow its links as they are: %w", ErrNotFound)

// Check is ErrNotFound if q asks for a type that is none, or for a resource that cannot be:
// there never was one.
func (q HistoryQuery) Check() error {
	if q.Type != "" && !fhir.ValidType(q.Type) || q.ID != "" && (q.Type == "" || !fhir.ValidID(q.ID)) {
		return ErrNotFound
	}
	return nil
}

// BeforeVersion is the version that Before names, of a resource whose newest one is current,
// and the one behind that if it names none. The error is ErrNoPlace.
func (q HistoryQuery) BeforeVersion(current int64) (int64, error) {
	if q.Before == "" {
		return current + 1, nil
	}
	n, ok := ParseVersion(q.Before)
	if !ok || n > current {
		return 0, ErrNoPlace
	}
	return n, nil
}

// BeforePlace is the place that Before names, in a history of many resources, and nil if it
// names none. The error is ErrNoPlace.
func (q HistoryQuery) BeforePlace() (*Place, error) {
	if q.Before == "" {
		return nil, nil
	}
	p, ok := ParsePlace(q.Before)
	if !ok || q.Type != "" && q.Type != p.Type {
		return nil, ErrNoPlace
	}
	return &p, nil
}

// Place is where a version stands in the history of many resources. It is the same in every
// store, and never changes.
type Place struct {
	LastUpdated int64 // milliseconds since 1970
	Type, ID    string
	Version     int64
}

// PlaceOf is the place of a version that a store has written.
func PlaceOf(r *fhir.Resource) Place {
	version, _ := ParseVersion(r.Version)
	return Place{r.LastUpdated.UnixMilli(), r.Type, r.ID, version}
}

// String needs no escapes in a URL.
func (p Place) String() string {
	return fmt.Sprintf("%d_%s_%s_%d", p.LastUpdated, p.Type, p.ID, p.Version)
}

// ParsePlace reads what String wrote, and only that.
func ParsePlace(text string) (Place, bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 4 || !fhir.ValidType(parts[1]) || !fhir.ValidID(parts[2]) {
		return Place{}, false
	}
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	version, ok := ParseVersion(parts[3])
	p := Place{ms, parts[1], parts[2], version}
	return p, err == nil && ok && p.String() == text
}

// Compare is negative if p comes before o, positive if it comes after: the later lastUpdated
// first, then by type and id, and within a resource the newer version first.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(o.LastUpdated, p.LastUpdated), strings.Compare(p.Type, o.Type), strings.Compare(p.ID, o.ID), cmp.Compare(o.Version, p.Version))
}

// HistoryPage is a page of a history as it is put together.
type HistoryPage struct {
	count, limit int

	versions []fhir.Resource
	bytes    int
	full     bool // and there is more
}

// NewHistoryPage is an empty page of the versions that q asks for: with no more than MaxHistory
// of them, and no more than maxBytes of JSON, but for a single version.
func NewHistoryPage(q HistoryQuery, maxBytes int) *HistoryPage {
	if q.Count <= 0 {
		q.Count = search.DefaultCount
	}
	return &HistoryPage{count: min(q.Count, MaxHistory), limit: maxBytes}
}

// Count is how many versions the page has at most.
func (h *HistoryPage) Count() int { return h.count }

// Add takes the next version, and reports false if there is no place for it.
func (h *HistoryPage) Add(r fhir.Resource) bool {
	h.bytes += len(r.JSON)
	if n := len(h.versions); n == h.count || n > 0 && h.bytes > h.limit {
		h.full = true
		return false
	}
	h.versions = append(h.versions, r)
	return true
}

// OfResource is the page of the history of one resource, which has total versions in all; -1 is
// not known.
func (h *HistoryPage) OfResource(total int) Page {
	return h.page(total, func(last *fhir.Resource) string { return last.Version })
}

// OfMany is the page of the history of many resources. How many versions these have is not counted.
func (h *HistoryPage) OfMany() Page {
	return h.page(-1, func(last *fhir.Resource) string { return PlaceOf(last).String() })
}

// page is what was added. next names the place of its last version.
func (h *HistoryPage) page(total int, next func(last *fhir.Resource) string) Page {
	page := Page{Resources: h.versions, Total: total}
	if h.full {
		page.Next = &search.Cursor{ID: next(&h.versions[len(h.versions)-1])}
	}
	return page
}
