package rest

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// transaction does all entries of a Bundle or none: in one write, which is the last thing
// that can fail. The entries are decided as if they came one by one, in the order DELETE,
// POST, PUT and PATCH, and the GETs are answered after the write.
// http://hl7.org/fhir/R4/http.html#trules
type transaction struct {
	*server
	x     *exchange
	steps []*step

	// What follows is decided anew in each attempt.
	changed  map[fhir.Key]*step // the entry that changes a resource
	replaced int                // how many of them are no longer what is stored
	local    map[string]string  // fullUrl of an entry -> Type/ID
	urls     bool               // not all of these are URNs
	referred map[string]string  // conditional reference -> Type/ID
}

// step is an entry of a transaction.
type step struct {
	*exchange    // the entry as a request of its own
	i            int
	run          func(*exchange) (reply, error)
	fullURL      string
	json         []byte // compact, nil if the entry has no resource
	stated       store.Condition
	query        *search.Query // of a conditional interaction
	assigned     string        // the id that a new resource gets
	id           string        // that the resource has, "" if none
	patch        change
	changes      []store.Change
	match        *fhir.Resource // what a conditional create found
	terms        *search.Terms  // of the resource, when they are needed
	results      []store.Result
	writes, gone bool
}

func (s *server) transaction(x *exchange, entries []sentEntry, body []byte) (reply, error) {
	if s.Validation != ValidateNothing {
		// The Bundle as a whole: the issues of all entries, with the path of each.
		if int64(len(body)) > s.MaxBody { // it was sent as XML
			return reply{}, tooLarge(s.MaxBody)
		}
		if _, err := s.validated("Bundle", body, nil); err != nil {
			return reply{}, err
		}
	}
	t := &transaction{server: s, x: x}
	for i := range entries {
		st, err := t.step(i, &entries[i])
		if err != nil {
			return reply{}, t.blame(st, err)
		}
		t.steps = append(t.steps, st)
	}
	_, err := again(func() (reply, error) { return reply{}, t.attempt() })
	if err != nil {
		return reply{}, err
	}
	return t.answer(), nil
}

// blame names the entry in an error.
func (t *transaction) blame(st *step, err error) error {
	r := inEntry(st.i, t.refused(st.exchange, err))
	if _, ok := errors.AsType[lost](err); ok {
		return lost{r}
	}
	return r
}

// step reads an entry.
func (t *transaction) step(i int, e *sentEntry) (*step, error) {
	y, run, err := t.request(t.x, e)
	st := &step{exchange: y, i: i, run: run, fullURL: e.FullURL, json: e.Resource}
	if err != nil {
		return st, err
	}
	switch y.Method {
	case http.MethodGet, http.MethodHead:
		return st, t.askable(st)
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return st, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the method has no place in a transaction").at("request.method").
			fix("use GET, HEAD, POST, PUT, PATCH or DELETE").spec(specTransaction)
	}
	st.writes = true
	if y.key.Type == "" || y.Method == http.MethodPost && strings.Contains(y.URL.Path, "/"+y.key.Type+"/") {
		return st, refuse(http.StatusBadRequest, fhir.CodeNotSupported, "what the entry asks for has no place in a transaction").at("request.url").
			fix("POST to [type], use other methods on [type]/[id] or [type]?[condition], and search with GET").spec(specTransaction)
	}
	if st.stated, err = precondition(y); err != nil {
		return st, err
	}
	switch {
	case y.Method == http.MethodPost:
		st.query, err = t.noneExist(y)
		st.assigned = t.NewID()
	case y.key.ID == "":
		var q search.Query
		q, err = t.condition(y, y.key.Type, y.query)
		st.query = &q
	}
	if err != nil || y.Method == http.MethodDelete {
		return st, err
	}
	if y.Method == http.MethodPatch {
		st.patch, err = patchIn(e.Resource)
		return st, err
	}
	resourceType, id, err := t.headOf(e.Resource, y.Method)
	switch {
	case err != nil:
		return st, bad(err)
	case resourceType != y.key.Type:
		return st, otherType()
	case y.Method == http.MethodPut && y.key.ID != "" && id != y.key.ID:
		return st, otherID(resourceType)
	}
	st.id = id
	return st, nil
}

// headOf is the type and the id of the resource of an entry. The Bundle that it is in was read, so
// that it is JSON and compact. If it was validated, too, no more of it is read than is needed.
func (t *transaction) headOf(resource []byte, method string) (resourceType, id string, err error) {
	if t.Validation != ValidateNothing {
		resourceType = typeOf(resource)
		if resourceType != "" && method == http.MethodPost {
			return resourceType, "", nil // the store gives it another
		}
	}
	resourceType, id, _, err = fhir.Parse(resource)
	return resourceType, id, err
}

// askable refuses a transaction with a question that cannot be answered, before it is too
// late. That there is nothing to read is an answer.
func (t *transaction) askable(st *step) error {
	_, err := st.run(st.exchange)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
		return nil
	}
	return err
}

// attempt decides what each entry changes, and writes it.
func (t *transaction) attempt() error {
	t.changed, t.replaced, t.local, t.urls, t.referred = map[fhir.Key]*step{}, 0, map[string]string{}, false, map[string]string{}
	for _, st := range t.steps {
		st.changes, st.match, st.gone = nil, nil, false
	}
	for _, phase := range [][]string{{http.MethodDelete}, {http.MethodPost}, {http.MethodPut, http.MethodPatch}} {
		for _, st := range t.steps {
			if !slices.Contains(phase, st.Method) {
				continue
			}
			if err := t.x.Context().Err(); err != nil {
				return err
			}
			if err := t.decide(st); err != nil {
				return t.blame(st, err)
			}
		}
	}
	for _, st := range t.steps {
		if err := t.name(st); err != nil {
			return t.blame(st, err)
		}
	}
	var all []store.Change
	var of []*step
	for _, st := range t.steps {
		if err := t.fill(st); err != nil {
			return t.blame(st, err)
		}
		for range st.changes {
			of = append(of, st)
		}
		all = append(all, st.changes...)
	}
	if len(all) == 0 {
		return nil
	}
	results, err := t.store.Write(t.x.Context(), all...)
	if err != nil {
		return t.failed(err, all, of)
	}
	for _, st := range t.steps {
		st.results, results = results[:len(st.changes)], results[len(st.changes):]
	}
	return nil
}

// failed finds the entry that a write failed for.
func (t *transaction) failed(err error, all []store.Change, of []*step) error {
	if m, ok := errors.AsType[*store.MatchedError](err); ok && m.Change < len(of) {
		return t.blame(of[m.Change], lost{err})
	}
	if c, ok := errors.AsType[*store.ConflictError](err); ok {
		if st := t.changed[fhir.Key{Type: c.Key.Type, ID: c.Key.ID}]; st != nil {
			return t.blame(st, ours(err, st.stated))
		}
	}
	for i, c := range all {
		if unfit := t.unfit(c, err); unfit != err {
			return t.blame(of[i], unfit)
		}
	}
	return err
}

// decide finds out which resources an entry changes.
func (t *transaction) decide(st *step) error {
	var found []fhir.Resource
	var err error
	if st.query != nil {
		limit := 2
		if st.Method == http.MethodDelete {
			limit = t.ConditionalDelete.limit() + 1
		}
		if found, err = t.find(st.query, limit); err != nil {
			return err
		}
	}
	direct := store.Change{Key: fhir.Key{Type: st.key.Type, ID: st.key.ID}, If: st.stated}
	switch st.Method {
	case http.MethodDelete:
		direct.Delete = true
		st.changes = []store.Change{direct}
		if st.query != nil {
			st.changes, err = t.deletions(st.stated, found)
		}
		st.gone = true
	case http.MethodPost:
		switch len(found) {
		case 0:
			direct.ID = st.assigned
			direct.If = store.Condition{Absent: true, None: st.query}
			st.changes = []store.Change{direct}
		case 1:
			st.match = &found[0]
		default:
			err = many()
		}
	case http.MethodPut:
		if st.query != nil {
			direct, err = t.upsert(st.Context(), st.query, st.id, st.stated, found)
		}
		st.changes = []store.Change{direct}
	case http.MethodPatch:
		switch {
		case st.query != nil && len(found) == 0:
			err = store.ErrNotFound
		case len(found) > 1:
			err = many()
		case st.query != nil:
			direct.ID = found[0].ID
		}
		st.changes = []store.Change{direct}
	}
	if err != nil {
		return err
	}
	for _, c := range st.changes {
		key := fhir.Key{Type: c.Type, ID: c.ID}
		if t.changed[key] != nil {
			return refuse(http.StatusBadRequest, fhir.CodeDuplicate, "another entry of the transaction changes the same resource").at("request").
				fix("send one entry for each resource").spec("http://hl7.org/fhir/R4/http.html#trules")
		}
		t.changed[key] = st
	}
	if st.replaces() {
		t.replaced += len(st.changes)
	}
	return nil
}

// replaces reports whether what the store has of what the entry changes no longer counts. It
// does for a patch, whose result is not known yet.
func (st *step) replaces() bool { return st.Method != http.MethodPatch }

// find gives what a condition matches after the entries that were decided: of the store,
// and of what the transaction puts in its place.
func (t *transaction) find(q *search.Query, limit int) ([]fhir.Resource, error) {
	if err := t.x.Context().Err(); err != nil {
		return nil, err
	}
	var found []fhir.Resource
	now := t.Now()
	for _, st := range t.steps {
		if st.gone || len(st.changes) == 0 || st.key.Type != q.Type || !st.replaces() {
			continue
		}
		if st.terms == nil {
			terms, err := t.parameters().Extract(st.key.Type, st.json)
			if err != nil {
				return nil, bad(err)
			}
			st.terms = &terms
		}
		key := fhir.Key{Type: st.key.Type, ID: st.changes[0].ID}
		if q.Matches(key, now, st.terms) {
			found = append(found, fhir.Resource{Key: key})
		}
	}
	stored, err := t.matches(t.x.Context(), *q, limit+t.replaced)
	if err != nil {
		return nil, err
	}
	for _, r := range stored {
		if st := t.changed[fhir.Key{Type: r.Type, ID: r.ID}]; st == nil || !st.replaces() {
			found = append(found, r)
		}
	}
	return found[:min(limit, len(found))], nil
}

// name notes which resource the full URL of an entry stands for.
func (t *transaction) name(st *step) error {
	if st.fullURL == "" || !st.writes || st.gone {
		return nil
	}
	key := fhir.Key{Type: st.key.Type}
	if st.match != nil {
		key.ID = st.match.ID
	} else {
		key.ID = st.changes[0].ID
	}
	if is, ok := t.local[st.fullURL]; ok && is != key.String() {
		return refuse(http.StatusBadRequest, fhir.CodeDuplicate, "two entries have the same fullUrl").at("fullUrl").
			fix("give each its own").spec("http://hl7.org/fhir/R4/bundle.html#bundle-unique")
	}
	t.local[st.fullURL] = key.String()
	t.urls = t.urls || !strings.HasPrefix(st.fullURL, "urn:")
	return nil
}

// fill puts the content into the change of an entry.
func (t *transaction) fill(st *step) error {
	if len(st.changes) == 0 || st.gone {
		return nil
	}
	l := links{base: t.x.base, from: st.fullURL, local: t.local, urls: t.urls, find: t.reference}
	c := &st.changes[0]
	if st.Method != http.MethodPatch {
		var err error
		c.JSON, err = l.rewrite(st.json)
		return err
	}
	p := st.patch
	current, err := t.store.Read(st.Context(), fhir.Key{Type: c.Type, ID: c.ID})
	if err != nil {
		return err
	}
	if typeOf(p.document) == "Parameters" {
		if p.document, err = l.rewrite(p.document); err != nil {
			return err
		}
	}
	content, err := t.patched(st.exchange, p, st.stated, current)
	if err != nil {
		return err
	}
	c.JSON, c.If = content.json, store.Condition{Version: current.Version}
	return nil
}

// reference is the one resource that a conditional reference means. It may be one that the
// transaction creates. http://hl7.org/fhir/R4/http.html#trules
func (t *transaction) reference(resourceType, condition string) (string, error) {
	text := resourceType + "?" + condition
	if is, ok := t.referred[text]; ok {
		return is, nil
	}
	if !slices.Contains(t.types, resourceType) {
		return "", refuse(http.StatusUnprocessableEntity, fhir.CodeNotFound, "a conditional reference is to a resource type that is not served here").
			fix("refer to a resource by its URL")
	}
	q, err := t.conditionIn(t.x, resourceType, condition)
	if err != nil {
		return "", err
	}
	found, err := t.find(&q, 2)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", refuse(http.StatusUnprocessableEntity, fhir.CodeNotFound, "no resource matches a conditional reference").
			fix("create the resource first, or in the same transaction").spec("http://hl7.org/fhir/R4/http.html#trules")
	case len(found) > 1:
		return "", refuse(http.StatusPreconditionFailed, patch.CodeMultiple, "more than one resource matches a conditional reference").
			fix("add parameters until one resource matches").spec("http://hl7.org/fhir/R4/http.html#trules")
	}
	t.referred[text] = resourceType + "/" + found[0].ID
	return t.referred[text], nil
}

// answer is the response to a transaction that was done.
func (t *transaction) answer() reply {
	done, size := make([]result, len(t.steps)), 0
	for i, st := range t.steps {
		if st.writes {
			done[i] = t.written(st)
		} else {
			r, err := t.ask(st.exchange, st.run, size)
			if err != nil {
				r = t.refusal(st.exchange, inEntry(i, t.refused(st.exchange, err)))
			}
			done[i] = result{reply: r, method: st.Method}
		}
		size += len(done[i].body)
	}
	return respond("transaction-response", done)
}

func (t *transaction) written(st *step) result {
	if st.gone {
		version := ""
		if len(st.results) == 1 {
			version = st.results[0].Version
		}
		return result{reply: st.deleted(version, "deleted"), method: st.Method}
	}
	v, r, done := fhir.Resource{}, reply{status: http.StatusOK}, "updated"
	if st.match != nil {
		v, done = t.latest(st), "a resource matches the condition: nothing was created"
	} else {
		v = st.results[0].Resource
		if st.results[0].Created {
			r.status, done = http.StatusCreated, "created"
		}
	}
	r = st.withBody(r.of(v).with("Location", t.x.base+"/"+v.Key.String()), v, done)
	return result{reply: r, method: st.Method, fullURL: t.x.base + "/" + v.Type + "/" + v.ID}
}

// latest is what a conditional create found. It may be a resource of the same transaction.
func (t *transaction) latest(st *step) fhir.Resource {
	if by := t.changed[fhir.Key{Type: st.match.Type, ID: st.match.ID}]; by != nil {
		return by.results[0].Resource
	}
	return *st.match
}
