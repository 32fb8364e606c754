package rest

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/stats"
	"github.com/kiln-health/kiln/fhir/ucum"
)

// series are the values of a code.
type series struct {
	concept concept
	panel   bool // an Observation with the code is a panel without a value
	total   int  // with those that are not counted
	values  []measured
	units   map[string]*unit
	without [reasons]int
}

type measured struct {
	value *big.Rat
	unit  *unit
	at    time.Time // zero if it is not known
}

type unit struct {
	ucum.Unit
	kind   string
	count  int
	newest time.Time // when it was used last
}

func (u *unit) use(times int, at time.Time) {
	u.count += times
	if at.After(u.newest) {
		u.newest = at
	}
}

// Why a value is not counted.
const (
	noValue = iota
	hasComparator
	noUCUM
	isModified
	otherUnit
	reasons
)

func (s *series) add(q *quantity, modified bool, at time.Time) {
	s.total++
	switch {
	case modified:
		s.without[isModified]++
		return
	case q == nil || len(q.Value) == 0:
		s.without[noValue]++
		return
	case q.Comparator != "":
		s.without[hasComparator]++
		return
	}
	value, ok := exactly(string(q.Value))
	if !ok {
		s.without[noValue]++
		return
	}
	u := s.units[q.Code]
	if u == nil && q.System == fhir.UCUM {
		if parsed, err := ucum.Parse(q.Code); err == nil && q.Code != "" {
			if u = (&unit{Unit: parsed, kind: parsed.Kind()}); s.units == nil {
				s.units = map[string]*unit{}
			}
			s.units[q.Code] = u
		}
	}
	if u == nil || q.System != fhir.UCUM {
		s.without[noUCUM]++
		return
	}
	u.use(1, at)
	s.values = append(s.values, measured{value, u, at})
}

// merge adds the values of another series.
func (s *series) merge(o *series) {
	s.total += o.total
	for i, n := range o.without {
		s.without[i] += n
	}
	for code, u := range o.units {
		if mine := s.units[code]; mine != nil {
			mine.use(u.count, u.newest)
		} else {
			if s.units == nil {
				s.units = map[string]*unit{}
			}
			s.units[code] = u
		}
	}
	for _, v := range o.values {
		v.unit = s.units[v.unit.String()]
		s.values = append(s.values, v)
	}
	s.name(&o.concept)
}

// name adds the codings of a concept to those of the series, its text if it has none.
func (s *series) name(c *concept) {
	for _, coding := range c.Coding {
		same := func(o coded) bool { return o.System == coding.System && o.Code == coding.Code }
		if coding.Code != "" && !slices.ContainsFunc(s.concept.Coding, same) {
			s.concept.Coding = append(s.concept.Coding, coding)
		}
	}
	if len(s.concept.Coding) == 0 {
		for _, coding := range c.Coding {
			s.concept.Text = coding.Display
		}
		if c.Text != "" {
			s.concept.Text = c.Text
		}
	}
}

// exactly reads a decimal of FHIR. One that is too long to be a measurement is none.
func exactly(text string) (*big.Rat, bool) {
	if len(text) > 64 {
		return nil, false
	}
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		if n, err := strconv.Atoi(text[e+1:]); err != nil || n > 100 || n < -100 {
			return nil, false
		}
	}
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// common is the unit that most values have, of the kind that most values are of; of equals
// that of the newest value.
func (s *series) common() *unit {
	kinds := map[string]int{}
	for _, u := range s.units {
		kinds[u.kind] += u.count
	}
	var best *unit
	for _, u := range s.units {
		if best == nil {
			best = u
			continue
		}
		for _, n := range []int{kinds[u.kind] - kinds[best.kind], u.count - best.count, u.newest.Compare(best.newest), strings.Compare(best.String(), u.String())} {
			if n != 0 {
				if n > 0 {
					best = u
				}
				break
			}
		}
	}
	return best
}

// convert brings the values to one unit, and leaves out those that do not convert.
func (s *series) convert() *unit {
	to := s.common()
	kept := s.values[:0]
	for _, v := range s.values {
		if v.unit.kind != to.kind {
			s.without[otherUnit]++
			continue
		}
		value, err := v.unit.Convert(v.value, to.Unit)
		if err != nil {
			s.without[otherUnit]++
			continue
		}
		kept = append(kept, measured{value, to, v.at})
	}
	s.values = kept
	return to
}

const statisticSystem = "http://terminology.hl7.org/CodeSystem/observation-statistics"

// regressionSystem tells the two results of a regression apart.
const regressionSystem = fhir.Namespace + "CodeSystem/regression"

// observation is the answer for a code.
func (s *series) observation(w *statsWanted) (jsontext.Value, error) {
	r := results{scale: scale{}}
	if len(s.values) > 0 {
		r.scale = scaleOf(s.convert().Unit)
	}
	r.total = s.total
	values := make([]*big.Rat, len(s.values))
	for i, v := range s.values {
		values[i] = v.value
	}
	r.sample = stats.New(values)

	during, start := w.period, w.start
	var first, latest time.Time
	for _, v := range s.values {
		if !v.at.IsZero() && (first.IsZero() || v.at.Before(first)) {
			first = v.at
		}
		if v.at.After(latest) {
			latest = v.at
		}
	}
	if start.IsZero() && !first.IsZero() {
		start, during.Start = first, first.UTC().Format(fhir.InstantFormat)
	}
	if during.End == "" && !latest.IsZero() {
		during.End = latest.UTC().Format(fhir.InstantFormat)
	}
	for _, v := range s.values {
		if !v.at.IsZero() {
			hours := new(big.Rat).SetFrac64(int64(v.at.Sub(start)), int64(time.Hour))
			r.points = append(r.points, stats.Point{X: hours, Y: v.value})
		}
	}

	o := statObservation{ResourceType: "Observation", Status: "final", Code: s.concept.shown()}
	o.Subject.Reference = w.subject
	if during != (period{}) {
		o.EffectivePeriod = &during
	}
	if text := s.note(); text != "" {
		o.Note = []statText{{text}}
	}
	for _, code := range w.statistics {
		o.Component = append(o.Component, r.components(code)...)
	}
	return json.Marshal(o)
}

// The parts of an Observation that tells statistics.
type (
	statObservation struct {
		ResourceType string      `json:"resourceType"`
		Status       string      `json:"status"`
		Code         statConcept `json:"code"`
		Subject      struct {
			Reference string `json:"reference"`
		} `json:"subject"`
		EffectivePeriod *period         `json:"effectivePeriod,omitempty"`
		Note            []statText      `json:"note,omitempty"`
		Component       []statComponent `json:"component"`
	}
	statText struct {
		Text string `json:"text"`
	}
	statConcept struct {
		Coding []coded `json:"coding,omitempty"`
		Text   string  `json:"text,omitempty"`
	}
	statComponent struct {
		Code             statConcept   `json:"code"`
		ValueQuantity    *statQuantity `json:"valueQuantity,omitempty"`
		DataAbsentReason *statConcept  `json:"dataAbsentReason,omitempty"`
	}
	statQuantity struct {
		Value  jsontext.Value `json:"value"`
		Unit   string         `json:"unit"`
		System string         `json:"system"`
		Code   string         `json:"code"`
	}
)

func (c *concept) shown() statConcept { return statConcept{Coding: c.Coding, Text: c.Text} }

// note says what is not counted.
func (s *series) note() string {
	var why []string
	missing := 0
	for reason, n := range s.without {
		if missing += n; n > 0 {
			why = append(why, fmt.Sprintf("%d %s", n, [reasons]string{
				"without a quantity", "with a comparator", "without a unit of UCUM", "with a modifier extension", "with a unit that does not convert to that of most",
			}[reason]))
		}
	}
	if missing == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d measurements are not counted: %s.", missing, s.total, strings.Join(why, ", "))
}

// scale is how results are told that are not in the unit of the values itself.
type scale struct {
	unit string
	// distance is the unit of differences, and how many of it one of the unit is: K for Cel.
	distance string
	factor   *big.Rat
	square   string // the unit of the variance, "" if it has none
	perHour  string // that of the gradient
	sums     bool   // it has a zero, so that sums mean something
}

// scaleOf knows that differences of degrees are no temperatures, and that there is neither a
// square of, nor a sum on, a logarithmic scale.
func scaleOf(u ucum.Unit) scale {
	s := scale{unit: u.String(), distance: u.String(), factor: big.NewRat(1, 1), sums: !u.Special()}
	if u.Special() {
		factor, ok := degree(u)
		if !ok {
			return s
		}
		_, base := u.Canonical()
		proper, err := ucum.Parse(base)
		if err != nil {
			return s
		}
		u, s.distance, s.factor = proper, base, factor
	}
	if square, err := u.Mul(u); err == nil {
		s.square = square.String()
	}
	if hour, err := ucum.Parse("h"); err == nil {
		if gradient, err := u.Div(hour); err == nil {
			s.perHour = gradient.String()
		}
	}
	return s
}

// degree is how many of the base one step of a special unit is, if all steps are equal.
func degree(u ucum.Unit) (*big.Rat, bool) {
	var at [3]*big.Rat
	for i := range at {
		var err error
		if at[i], err = u.ToBase(big.NewRat(int64(i), 1)); err != nil {
			return nil, false
		}
	}
	first, second := new(big.Rat).Sub(at[1], at[0]), new(big.Rat).Sub(at[2], at[1])
	return first, first.Cmp(second) == 0
}

// results are the statistics of a series.
type results struct {
	scale  scale
	total  int
	sample *stats.Sample
	points []stats.Point // hours, and values
}

// statistic is one that can be asked for.
type statistic struct {
	code, display string
	of            func(*results) answer
}

// answer is a number and its unit; without one it says why.
type answer struct {
	number *big.Rat
	unit   string
	absent string // http://hl7.org/fhir/R4/codesystem-data-absent-reason.html
}

// numberIn is a number in a unit, if it is defined and there is such a unit.
func numberIn(unit string, n *big.Rat, ok bool) answer {
	if !ok {
		return answer{absent: "not-a-number"}
	}
	if unit == "" {
		return answer{absent: "not-applicable"}
	}
	return answer{number: n, unit: unit}
}

func (r *results) quantile(num, den int) answer {
	n, ok := r.sample.Quantile(num, den)
	return numberIn(r.scale.unit, n, ok)
}

// distance is a difference of values.
func (r *results) distance(n *big.Rat, ok bool) answer {
	if ok {
		n.Mul(n, r.scale.factor)
	}
	return numberIn(r.scale.distance, n, ok)
}

func (r *results) variance() answer {
	n, ok := r.sample.Variance()
	if ok {
		n.Mul(n, r.scale.factor).Mul(n, r.scale.factor)
	}
	return numberIn(r.scale.square, n, ok)
}

func (r *results) sum() answer {
	switch {
	case r.sample.Count() == 0:
		return answer{absent: "not-a-number"} // 0 of what?
	case !r.scale.sums:
		return answer{absent: "not-applicable"}
	}
	return numberIn(r.scale.unit, r.sample.Sum(), true)
}

func quantile(num, den int) func(*results) answer {
	return func(r *results) answer { return r.quantile(num, den) }
}

func count(of func(*results) int) func(*results) answer {
	return func(r *results) answer { return numberIn("1", big.NewRat(int64(of(r)), 1), true) }
}

// statistics are all that R4 has, in its order.
// http://hl7.org/fhir/R4/codesystem-observation-statistics.html
func statistics() []statistic {
	return []statistic{
		{"average", "Average", func(r *results) answer {
			n, ok := r.sample.Average()
			return numberIn(r.scale.unit, n, ok)
		}},
		{"maximum", "Maximum", quantile(1, 1)},
		{"minimum", "Minimum", quantile(0, 1)},
		{"count", "Count", count(func(r *results) int { return r.sample.Count() })},
		{"total-count", "Total Count", count(func(r *results) int { return r.total })},
		{"median", "Median", quantile(1, 2)},
		{"std-dev", "Standard Deviation", func(r *results) answer { return r.distance(r.sample.StandardDeviation()) }},
		{"sum", "Sum", (*results).sum},
		{"variance", "Variance", (*results).variance},
		{"20-percent", "20th Percentile", quantile(1, 5)},
		{"80-percent", "80th Percentile", quantile(4, 5)},
		{"4-lower", "Lower Quartile", quantile(1, 4)},
		{"4-upper", "Upper Quartile", quantile(3, 4)},
		{"4-dev", "Quartile Deviation", func(r *results) answer { return r.distance(r.sample.QuartileDeviation()) }},
		{"5-1", "1st Quintile", quantile(1, 5)},
		{"5-2", "2nd Quintile", quantile(2, 5)},
		{"5-3", "3rd Quintile", quantile(3, 5)},
		{"5-4", "4th Quintile", quantile(4, 5)},
		{"skew", "Skew", func(r *results) answer {
			n, ok := r.sample.Skew()
			return numberIn("1", n, ok)
		}},
		{"kurtosis", "Kurtosis", func(r *results) answer {
			n, ok := r.sample.Kurtosis()
			return numberIn("1", n, ok)
		}},
		{"regression", "Regression", nil},
	}
}

func statisticCodes() []string {
	var codes []string
	for _, s := range statistics() {
		codes = append(codes, s.code)
	}
	return codes
}

// components are those of a statistic: one, but for a regression a gradient and an intercept.
func (r *results) components(code string) []statComponent {
	all := statistics()
	s := all[slices.IndexFunc(all, func(s statistic) bool { return s.code == code })]
	coding := coded{statisticSystem, s.code, s.display}
	if s.of != nil {
		return []statComponent{s.of(r).component(statConcept{Coding: []coded{coding}})}
	}
	gradient, intercept, ok := stats.Regression(r.points)
	if ok {
		gradient.Mul(gradient, r.scale.factor)
	}
	return []statComponent{
		numberIn(r.scale.perHour, gradient, ok).component(statConcept{
			Coding: []coded{coding, {regressionSystem, "gradient", "Gradient"}}, Text: "gradient of the regression by time"}),
		numberIn(r.scale.unit, intercept, ok).component(statConcept{
			Coding: []coded{coding, {regressionSystem, "intercept", "Intercept"}}, Text: "value of the regression at the start of the period"}),
	}
}

func (a answer) component(code statConcept) statComponent {
	if a.number == nil {
		return statComponent{Code: code, DataAbsentReason: &statConcept{Coding: []coded{{System: fhir.DataAbsentReason, Code: a.absent}}}}
	}
	return statComponent{Code: code, ValueQuantity: &statQuantity{jsontext.Value(stats.Text(a.number)), a.unit, fhir.UCUM, a.unit}}
}
