package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

const specStats = "http://hl7.org/fhir/R4/observation-operation-stats.html"

// statistics answers GET and POST /Observation/$stats: for each code, an Observation with a
// component for each statistic of the measurements of a subject.
//
// A measurement is a valueQuantity with a code of UCUM, of an Observation or of a component
// that has the code. If an Observation with the code is a panel, its components and members are
// measurements of their own codes; codes that any of them has as codings of one concept are one.
// A measurement counts if its effective time is in the period as a whole. The values of a code
// are converted, exactly, to the unit that most of them have. What is not counted is told in a
// note: values with a comparator or without a unit of UCUM, those that do not convert, and those
// whose meaning a modifier extension may change. Package stats says how statistics are defined.
//
// http://hl7.org/fhir/R4/observation-operation-stats.html
func (s *server) statistics(x *exchange) (reply, error) {
	args, err := s.arguments(x)
	if err != nil {
		return reply{}, err
	}
	w, err := s.statsWanted(x, args)
	if err != nil {
		return reply{}, err
	}
	m := measurements{wanted: w, done: map[string]bool{}, series: make([]*series, len(w.codes))}
	for i, c := range w.codes {
		m.series[i] = &series{concept: concept{Coding: []coded{c}}}
	}
	if err := s.measure(x, &m); err != nil {
		return reply{}, err
	}
	var out struct {
		ResourceType string          `json:"resourceType"`
		Parameter    []statParameter `json:"parameter"`
	}
	out.ResourceType = "Parameters"
	for _, series := range m.told() {
		o, err := series.observation(w)
		if err != nil {
			return reply{}, err
		}
		out.Parameter = append(out.Parameter, statParameter{"statistics", o})
	}
	slices.SortStableFunc(m.sources, func(a, b evidence) int { return b.at.Compare(a.at) })
	for _, r := range m.sources {
		out.Parameter = append(out.Parameter, statParameter{"source", r.json})
	}
	body, err := json.Marshal(out)
	return reply{status: http.StatusOK, body: body}, err
}

type statParameter struct {
	Name     string         `json:"name"`
	Resource jsontext.Value `json:"resource"`
}

// statsWanted is what $stats is asked.
type statsWanted struct {
	subject    string // as a reference has it
	codes      []coded
	statistics []string
	where      []search.Clause // of the subject and the period
	about      search.Clause   // of the codes
	period     period          // as it was asked for; its parts may be ""
	start      time.Time       // of the period, zero if it has none
	sources    int             // how many are shown
}

// period is a Period.
type period struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

func badStats(code, message string) *refused {
	return refuse(http.StatusBadRequest, code, message).spec(specStats)
}

func (s *server) statsWanted(x *exchange, args []argument) (*statsWanted, error) {
	w := &statsWanted{}
	one := map[string]argument{}
	var codes []string
	for _, a := range args {
		var err error
		switch a.name {
		case "code":
			codes = append(codes, a.text)
		case "coding":
			err = w.coding(a)
		case "statistic":
			err = w.statistic(a)
		case "subject", "system", "duration", "period", "include", "limit":
			if _, again := one[a.name]; again {
				err = twice(a.name, specStats)
			}
			one[a.name] = a
		default:
			err = unknownArgument("subject, code, system, coding, duration, period, statistic, include and limit", specStats)
		}
		if err == nil && a.json != nil && a.name != "coding" && a.name != "period" {
			err = badParameter(a.name, "a single value, as in valueString").spec(specStats)
		}
		if err != nil {
			return nil, err
		}
	}
	system := one["system"].text
	for _, code := range codes {
		if system == "" {
			return nil, badStats(fhir.CodeRequired, "a code without its system may mean anything").fix("send system, or coding in place of both")
		}
		w.code(coded{System: system, Code: code})
	}
	switch {
	case len(w.codes) == 0:
		return nil, badStats(fhir.CodeRequired, "$stats needs to know what was measured").fix("add code and system, or coding")
	case len(w.codes) > search.MaxValues:
		return nil, tooCostly(fmt.Sprintf("there are more than %d codes", search.MaxValues), "ask in several steps").spec(specStats)
	case len(w.statistics) == 0:
		return nil, badStats(fhir.CodeRequired, "$stats needs to know what to compute").fix("add statistic, one or more of " + strings.Join(statisticCodes(), ", "))
	}
	if err := w.shown(one["include"], one["limit"]); err != nil {
		return nil, err
	}
	if err := s.statsSubject(x, w, one["subject"]); err != nil {
		return nil, err
	}
	if err := s.statsPeriod(w, one["duration"], one["period"]); err != nil {
		return nil, err
	}
	return w, s.statsAbout(w)
}

func (w *statsWanted) code(c coded) {
	same := func(o coded) bool { return o.System == c.System && o.Code == c.Code }
	if !slices.ContainsFunc(w.codes, same) {
		w.codes = append(w.codes, c)
	}
}

// coding reads a Coding, or system|code in a URL.
func (w *statsWanted) coding(a argument) error {
	var c coded
	if a.json == nil {
		c.System, c.Code, _ = strings.Cut(a.text, "|")
	} else if a.of != "Coding" || json.Unmarshal(a.json, &c) != nil {
		c = coded{}
	}
	if c.System == "" || c.Code == "" {
		return badParameter("coding", "a Coding with system and code; in a URL, system|code").spec(specStats)
	}
	w.code(c)
	return nil
}

func (w *statsWanted) statistic(a argument) error {
	for code := range strings.SplitSeq(a.text, ",") {
		code = strings.TrimSpace(code)
		switch code { // the OperationDefinition has these names for them, too
		case "max":
			code = "maximum"
		case "min":
			code = "minimum"
		}
		if !slices.Contains(statisticCodes(), code) {
			return badParameter("statistic", "one of "+strings.Join(statisticCodes(), ", ")).spec(specStats)
		}
		if !slices.Contains(w.statistics, code) {
			w.statistics = append(w.statistics, code)
		}
	}
	return nil
}

// shown reads include and limit. Without include, limit is to be ignored.
func (w *statsWanted) shown(include, limit argument) (err error) {
	switch include.text {
	case "", "false":
		return nil
	case "true":
	default:
		return badParameter("include", "true or false").spec(specStats)
	}
	w.sources = maxRead
	if limit.text != "" {
		w.sources, err = positive(limit)
	}
	return err
}

func (s *server) statsSubject(x *exchange, w *statsWanted, subject argument) error {
	if subject.text == "" {
		return badStats(fhir.CodeRequired, "$stats needs to know whose measurements are meant").fix("add subject, as in subject=Patient/[id]")
	}
	q, _, err := s.parameters().Parse("Observation", []search.Pair{{Name: "subject", Value: subject.text}},
		search.Options{Handling: search.Strict, BaseURL: x.base, Now: s.Now()})
	bad := badParameter("subject", "the reference of one subject, as in Patient/[id]").spec(specStats)
	if err != nil || len(q.Where) != 1 || len(q.Where[0].Values) != 1 {
		return bad
	}
	switch v := q.Where[0].Values[0]; {
	case v.RefType != "" && v.RefID != "":
		w.subject = v.RefType + "/" + v.RefID
	case v.URL != "" && strings.Contains(v.URL, ":"):
		w.subject = v.URL
	default:
		return bad
	}
	w.where = append(w.where, q.Where...)
	return nil
}

// endless is where a period without an end ends, for a search.
var endless = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// statsPeriod reads the time that is meant: that of the effective time of what is counted.
func (s *server) statsPeriod(w *statsWanted, duration, asked argument) error {
	switch {
	case duration.text != "" && asked.name != "":
		return badStats(fhir.CodeInvalid, "duration and period are two answers to one question").fix("send one of them")
	case duration.text != "":
		hours, ok := exactly(duration.text)
		if !ok || hours.Sign() <= 0 {
			return badParameter("duration", "a number of hours, as in 24").spec(specStats)
		}
		h, _ := hours.Float64()
		end := s.Now().UTC()
		if h > 24*366*200 {
			return badParameter("duration", "a number of hours, not more than 200 years").spec(specStats)
		}
		start := end.Add(-time.Duration(h * float64(time.Hour)))
		w.period = period{start.Format(fhir.InstantFormat), end.Format(fhir.InstantFormat)}
		// What was measured in this second, and tells no fraction of it, is not after now.
		s.within(w, start, end.Truncate(time.Second).Add(time.Second))
	case asked.name != "":
		bad := badParameter("period", "a Period with start or end, POSTed as valuePeriod").spec(specStats)
		if asked.of != "Period" || asked.json == nil || json.Unmarshal(asked.json, &w.period) != nil || w.period == (period{}) {
			return bad
		}
		var start time.Time
		end := endless
		for _, edge := range []struct {
			text string
			is   func(search.Value)
		}{
			{w.period.Start, func(v search.Value) { start = v.From }},
			{w.period.End, func(v search.Value) { end = v.To }},
		} {
			if edge.text == "" {
				continue
			}
			q, _, err := s.parameters().Parse("Observation", []search.Pair{{Name: "date", Value: edge.text}}, search.Options{Handling: search.Strict})
			if err != nil || edge.text[0] < '0' || edge.text[0] > '9' || len(q.Where) != 1 || len(q.Where[0].Values) != 1 {
				return bad
			}
			edge.is(q.Where[0].Values[0])
		}
		if !start.Before(end) {
			return bad
		}
		s.within(w, start, end)
	}
	return nil
}

// within asks for what lies in the interval as a whole.
func (s *server) within(w *statsWanted, start, end time.Time) {
	w.start = start
	if start.IsZero() {
		start = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	date, _ := s.parameters().Lookup("Observation", "date")
	w.where = append(w.where, search.Clause{Param: date, Values: []search.Value{{Prefix: search.EQ, From: start, To: end, Text: "period"}}})
}

// statsAbout makes the condition of the codes.
func (s *server) statsAbout(w *statsWanted) error {
	escape := strings.NewReplacer(`\`, `\\`, `|`, `\|`, `,`, `\,`, `$`, `\$`)
	var tokens []string
	for _, c := range w.codes {
		tokens = append(tokens, escape.Replace(c.System)+"|"+escape.Replace(c.Code))
	}
	q, _, err := s.parameters().Parse("Observation", []search.Pair{{Name: "combo-code", Value: strings.Join(tokens, ",")}}, search.Options{Handling: search.Strict})
	if err != nil || len(q.Where) != 1 {
		return badParameter("code", "a code of its system").spec(specStats)
	}
	w.about = q.Where[0]
	return nil
}

// Limits of how deep panels are in panels, and how many units the values of a code may have.
const (
	maxPanels = 4
	maxUnits  = 50
)

// measure reads what is to be counted.
func (s *server) measure(x *exchange, m *measurements) error {
	q := search.Query{Type: "Observation", Where: append(slices.Clone(m.wanted.where), m.wanted.about), Sort: newestFirst(), Count: search.MaxCount, Total: search.TotalNone}
	if err := s.measureAll(x, m, q, false); err != nil {
		return err
	}
	for depth := 0; len(m.next) > 0; depth++ {
		if depth == maxPanels {
			return tooCostly(fmt.Sprintf("panels are in each other more than %d deep", maxPanels), "ask for the codes of the measurements").spec(specStats)
		}
		keys := m.next
		m.next = nil
		for part := range slices.Chunk(keys, search.MaxCount) {
			q.Where = append(slices.Clone(m.wanted.where), search.IDs(part...))
			if err := s.measureAll(x, m, q, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureAll takes the Observations that q finds, of a panel or not.
func (s *server) measureAll(x *exchange, m *measurements, q search.Query, ofPanel bool) error {
	for {
		page, err := s.store.Search(x.Context(), q)
		if err != nil {
			return err
		}
		for _, r := range page.Resources {
			terms, err := s.parameters().Extract(r.Type, r.JSON)
			if err != nil {
				return err
			}
			at, _ := search.SortDate(&terms)
			if err := m.take(x, r, at, ofPanel); err != nil {
				return err
			}
		}
		if m.read += len(page.Resources); m.read > maxRead {
			return tooCostly(fmt.Sprintf("there are more than %d Observations to be counted", maxRead), "ask for a shorter period, or fewer codes").spec(specStats)
		}
		if page.Next == nil {
			return nil
		}
		q.After = page.Next
	}
}

// observed is what counts of an Observation.
type observed struct {
	Status            string           `json:"status"`
	ModifierExtension []jsontext.Value `json:"modifierExtension"`
	Code              concept          `json:"code"`
	ValueQuantity     *quantity        `json:"valueQuantity"`
	Component         []struct {
		ModifierExtension []jsontext.Value `json:"modifierExtension"`
		Code              concept          `json:"code"`
		ValueQuantity     *quantity        `json:"valueQuantity"`
	} `json:"component"`
	HasMember []struct {
		Reference string `json:"reference"`
	} `json:"hasMember"`
}

type quantity struct {
	Value      jsontext.Value `json:"value"`
	Comparator string         `json:"comparator"`
	System     string         `json:"system"`
	Code       string         `json:"code"`
}

// measurements collects the values of each code.
type measurements struct {
	wanted  *statsWanted
	series  []*series // of the codes that were asked for, in their order, and of panels behind them
	panels  []int     // where in series that of a class is
	classes classes
	done    map[string]bool // what was counted, by Observation and component
	next    []fhir.Key      // members of panels that are to be read
	read    int
	sources []evidence
	bytes   int
}

// evidence is an Observation that was counted.
type evidence struct {
	at   time.Time
	json []byte
}

// take counts the values of an Observation.
func (m *measurements) take(x *exchange, r fhir.Resource, at time.Time, ofPanel bool) error {
	var o observed
	if err := json.Unmarshal(r.JSON, &o); err != nil || o.Status == "entered-in-error" {
		return nil // what was stored unchecked and cannot be read is no measurement
	}
	modified := len(o.ModifierExtension) > 0
	counted := false
	about := m.asked(&o.Code)
	panel := len(o.Component) > 0 || len(o.HasMember) > 0
	if !panel || o.ValueQuantity != nil {
		counted = m.count(r.ID, &o.Code, o.ValueQuantity, modified, at, ofPanel)
	} else {
		for _, i := range about {
			m.series[i].panel = true
		}
	}
	for i := range o.Component {
		c := &o.Component[i]
		part := fmt.Sprintf("%s#%d", r.ID, i)
		if m.count(part, &c.Code, c.ValueQuantity, modified || len(c.ModifierExtension) > 0, at, ofPanel || len(about) > 0) {
			counted = true
		}
	}
	if ofPanel || len(about) > 0 {
		for _, member := range o.HasMember {
			key, ok := keyOf(strings.TrimPrefix(member.Reference, x.base+"/"))
			if ok && key.Type == "Observation" && !m.done["member "+key.ID] {
				m.done["member "+key.ID] = true
				m.next = append(m.next, key)
			}
		}
	}
	if counted && len(m.sources) < m.wanted.sources && m.bytes+len(r.JSON) <= maxAnswer && !m.done["source "+r.ID] {
		m.done["source "+r.ID] = true
		m.sources = append(m.sources, evidence{at, r.JSON})
		m.bytes += len(r.JSON)
	}
	for _, s := range m.series {
		if s != nil && len(s.units) > maxUnits {
			return tooCostly(fmt.Sprintf("the values of a code have more than %d units", maxUnits), "ask for a shorter period").spec(specStats)
		}
	}
	return nil
}

// asked are the series of the codes that were asked for and that a concept has.
func (m *measurements) asked(c *concept) []int {
	var found []int
	for i, code := range m.wanted.codes {
		if slices.ContainsFunc(c.Coding, func(o coded) bool { return o.System == code.System && o.Code == code.Code }) {
			found = append(found, i)
		}
	}
	return found
}

// count adds a value to the series of its codes, once. One of a panel that has none of the
// codes that were asked for has a series of its own.
func (m *measurements) count(id string, c *concept, q *quantity, modified bool, at time.Time, ofPanel bool) bool {
	if m.done[id] {
		return false
	}
	to := m.asked(c)
	names := c.names()
	if len(to) == 0 && (!ofPanel || names == nil) {
		return false
	}
	m.done[id] = true
	if len(to) == 0 {
		class, joined := m.classes.join(names)
		for len(m.panels) <= class {
			m.panels = append(m.panels, len(m.series))
			m.series = append(m.series, &series{})
		}
		to = []int{m.panels[class]}
		s := m.series[to[0]]
		for _, other := range joined {
			s.merge(m.series[m.panels[other]])
			m.series[m.panels[other]] = nil
		}
		s.name(c)
	}
	for _, i := range to {
		m.series[i].add(q, modified, at)
	}
	return true
}

// told are the series to be answered: not those of panels that have no values of their own.
func (m *measurements) told() []*series {
	var all []*series
	for _, s := range m.series {
		if s != nil && (!s.panel || s.total > 0) {
			all = append(all, s)
		}
	}
	if all == nil {
		return m.series[:len(m.wanted.codes)] // panels of which nothing is counted
	}
	return all
}
