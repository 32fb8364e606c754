package validate

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir/definitions"
)

// A check says whether an invariant holds for the value at node n. has are the bits of the
// members that an object has; 0 for a primitive.
type check func(w *walker, n int, has uint64) bool

// A rule is an invariant that is checked.
type rule struct {
	*definitions.Invariant
	check check
	fix   string
}

// A native is an invariant in Go.
type native struct {
	make func(p *plan, c *class) check // for objects of class c, which is nil for a primitive
	fix  string
	text bool // it can be about a primitive
}

// rules are those of the invariants, but for those that are in other.
func (p *plan) rules(all []*definitions.Invariant, other []rule, c *class) []rule {
	var rules []rule
next:
	for _, v := range all {
		for _, o := range other {
			if o.Invariant == v {
				continue next
			}
		}
		n, ok := p.native(v)
		if !ok {
			rules = append(rules, byExpression(v))
			continue
		}
		if n.make == nil || c == nil && !n.text {
			continue
		}
		if f := n.make(p, c); f != nil {
			rules = append(rules, rule{v, f, n.fix})
		}
	}
	return rules
}

// native is the invariant in Go. A key that several structures use for different rules is
// followed by the element that bears it.
func (p *plan) native(v *definitions.Invariant) (native, bool) {
	if len(v.Where) > 0 {
		if n, ok := p.known[v.Key+" "+v.Where[0]]; ok {
			return n, true
		}
	}
	n, ok := p.known[v.Key]
	return n, ok
}

// either holds if one of the members is there.
func either(names ...string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		bits := c.bits(names)
		return func(_ *walker, _ int, has uint64) bool { return has&bits != 0 }
	}
}

// notBoth holds unless both members are there.
func notBoth(a, b string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		x, y := c.bit(a), c.bit(b)
		return func(_ *walker, _ int, has uint64) bool { return has&x == 0 || has&y == 0 }
	}
}

// oneOf holds if exactly one of two members is there.
func oneOf(a, b string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		x, y := c.bit(a), c.bit(b)
		return func(_ *walker, _ int, has uint64) bool { return (has&x == 0) != (has&y == 0) }
	}
}

// together holds if both members are there, or neither.
func together(a, b string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		x, y := c.bit(a), c.bit(b)
		return func(_ *walker, _ int, has uint64) bool { return (has&x == 0) == (has&y == 0) }
	}
}

// notWith holds unless the first member is there with one of the others.
func notWith(a string, others ...string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		x, y := c.bit(a), c.bits(others)
		return func(_ *walker, _ int, has uint64) bool { return has&x == 0 || has&y == 0 }
	}
}

// needs holds unless the first member is there without the second.
func needs(a, b string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		x, y := c.bit(a), c.bit(b)
		return func(_ *walker, _ int, has uint64) bool { return has&x == 0 || has&y != 0 }
	}
}

func (c *class) bits(names []string) (bits uint64) {
	for _, n := range names {
		bits |= c.bit(n)
	}
	return bits
}

// natives are the invariants in Go, by key.
func natives() map[string]native {
	all := map[string]native{
		// The walk checks these as it goes.
		"ele-1": {}, "dom-3": {}, "ref-1": {}, "txt-1": {}, "txt-2": {},

		"ext-1":  {make: oneOf("extension", "value"), fix: "send either a value or extensions"},
		"dom-2":  {make: containedLack("contained"), fix: "put all contained resources into the outermost resource"},
		"dom-4":  {make: containedLack("meta", "versionId", "lastUpdated"), fix: "leave them out"},
		"dom-5":  {make: containedLack("meta", "security"), fix: "put the label on the resource that contains it"},
		"dom-6":  {make: narrated, fix: "add a narrative in text"},
		"obs-3":  {make: either("low", "high", "text"), fix: "add low, high or text, or leave referenceRange out"},
		"obs-6":  {make: notBoth("dataAbsentReason", "value"), fix: "leave out the dataAbsentReason or the value"},
		"obs-7":  {make: componentCodes, fix: "leave out the value, or give the component a code of its own"},
		"pat-1":  {make: either("name", "telecom", "address", "organization"), fix: "add a name, telecom, address or organization"},
		"per-1":  {make: ordered("start", "end"), fix: "correct start or end"},
		"qty-3":  {make: needs("code", "system"), fix: "add the system, http://unitsofmeasure.org for a UCUM code"},
		"rng-2":  {make: rangeInOrder, fix: "correct low or high"},
		"rat-1":  {make: ratio, fix: "send numerator and denominator"},
		"cpt-2":  {make: needs("value", "system"), fix: "add the system: phone, email, …"},
		"att-1":  {make: needs("data", "contentType"), fix: "add the contentType"},
		"age-1":  {make: quantityOf(positive), fix: "send a UCUM code for time and a value above 0"},
		"cnt-3":  {make: quantityOf(counted), fix: "send the UCUM code 1 and a whole number"},
		"dis-1":  {make: quantityOf(nil), fix: "send a UCUM code for length"},
		"drt-1":  {make: duration, fix: "send system http://unitsofmeasure.org and a value with the code"},
		"mqty-1": {make: money, fix: "send the system urn:iso:std:iso:4217 and the code of the currency"},
		"sqty-1": {make: absent("comparator"), fix: "leave the comparator out"},
		"exp-1":  {make: either("expression", "reference"), fix: "add the expression or the reference"},
		"drq-1":  {make: oneOf("path", "searchParam"), fix: "send either path or searchParam"},
		"drq-2":  {make: oneOf("path", "searchParam"), fix: "send either path or searchParam"},
		"trd-1":  {make: notBoth("data", "timing"), fix: "leave out data or timing"},
		"trd-2":  {make: needs("condition", "data"), fix: "add data"},
		"trd-3":  {make: trigger, fix: "add name, timing or data, as the type demands"},
		"tim-1":  {make: needs("duration", "durationUnit"), fix: "add durationUnit"},
		"tim-2":  {make: needs("period", "periodUnit"), fix: "add periodUnit"},
		"tim-4":  {make: notNegative("duration"), fix: "send a duration from 0 on"},
		"tim-5":  {make: notNegative("period"), fix: "send a period from 0 on"},
		"tim-6":  {make: needs("periodMax", "period"), fix: "add period"},
		"tim-7":  {make: needs("durationMax", "duration"), fix: "add duration"},
		"tim-8":  {make: needs("countMax", "count"), fix: "add count"},
		"tim-9":  {make: offset, fix: "add when, other than C, CM, CD and CV, or leave out offset"},
		"tim-10": {make: notBoth("timeOfDay", "when"), fix: "leave out timeOfDay or when"},

		"inv-1 Task":                 {make: ordered("authoredOn", "lastModified"), fix: "correct authoredOn or lastModified"},
		"inv-1 Parameters.parameter": {make: parameter, fix: "send exactly one of value, resource and part"},

		"bdl-1":  {make: bundleTotal, fix: "leave total out"},
		"bdl-2":  {make: bundleSearch, fix: "leave entry.search out"},
		"bdl-3":  {make: bundleEntries("request", "batch", "transaction", "history"), fix: "send a request in each entry of a batch, transaction or history, and in no other Bundle"},
		"bdl-4":  {make: bundleEntries("response", "batch-response", "transaction-response", "history"), fix: "send a response in each entry of a response or history, and in no other Bundle"},
		"bdl-5":  {make: either("resource", "request", "response"), fix: "add a resource, or leave the entry out"},
		"bdl-7":  {make: bundleDistinct, fix: "send each resource once, or with different meta.versionId"},
		"bdl-8":  {make: bundleUnversioned, fix: "leave the version out of fullUrl"},
		"bdl-9":  {make: bundleIdentified, fix: "add an identifier with system and value"},
		"bdl-10": {make: bundleDated, fix: "add timestamp"},
		"bdl-11": {make: bundleBegins("document", "Composition"), fix: "begin with the Composition"},
		"bdl-12": {make: bundleBegins("message", "MessageHeader"), fix: "begin with the MessageHeader"},

		"vs-1":                   {make: dayOf(8), fix: "say at least the day in effective", text: true},
		"vs-2":                   {make: measured, fix: "add a value, a dataAbsentReason, a component or hasMember"},
		"vs-3":                   {make: either("value", "dataAbsentReason"), fix: "add a value or a dataAbsentReason"},
		"us-core-1":              {make: dayOf(10), fix: "say at least the day in effective", text: true},
		"us-core-2":              {make: measured, fix: "add a value, a dataAbsentReason, a component or hasMember"},
		"us-core-3":              {make: valueSystem("Quantity", "http://unitsofmeasure.org"), fix: "send a UCUM unit"},
		"us-core-4":              {make: valueSystem("CodeableConcept", "http://snomed.info/sct"), fix: "send a SNOMED CT code"},
		"us-core-6 Patient.name": {make: nameGiven, fix: "add family or given, or the extension data-absent-reason, not both"},

		"mdc-1":                  {make: codedBy("urn:iso:std:iso:11073:10101"), fix: "add an IEEE 11073 code"},
		"confidence-range-units": {make: rangeAgrees("unit"), fix: "send the same unit in low and high"},
		"alerting-range-units":   {make: rangeAgrees("code"), fix: "send the same code in low and high"},
		"pocd-dev-1":             {make: either("identifier", "udiCarrier"), fix: "add an identifier or a udiCarrier"},
		"pocd-obs-1":             {make: either("value", "dataAbsentReason"), fix: "add a value or a dataAbsentReason"},
		"pocd-rr-1":              {make: extensionsHave("low", "high"), fix: "add the extension low or high"},
		"apj-1":                  {make: jurisdictions, fix: "leave out noApprovedJurisdictions or the approvedJurisdiction"},

		"con-1": {make: either("summary", "assessment"), fix: "add summary or assessment"},
		"con-2": {make: either("code", "detail"), fix: "add code or detail"},
		"cpl-3": {make: notBoth("detail", "reference"), fix: "leave out detail or reference"},
		"gol-1": {make: needs("detail", "measure"), fix: "add measure"},
		"imm-1": {make: either("documentType", "reference"), fix: "add documentType or reference"},
		"org-1": {make: either("identifier", "name"), fix: "add an identifier or a name"},
		"org-2": {make: notUsedAs("home"), fix: "leave out use home"},
		"org-3": {make: notUsedAs("home"), fix: "leave out use home"},
		"mdd-1": {make: ordered("whenPrepared", "whenHandedOver"), fix: "correct whenPrepared or whenHandedOver"},
		"prr-1": {make: needs("orderDetail", "code"), fix: "add code"},
		"qrs-1": {make: notBoth("answer", "item"), fix: "leave out answer or item"},

		"app-1":  {make: either("type", "actor"), fix: "add type or actor"},
		"app-2":  {make: together("start", "end"), fix: "send start and end, or neither"},
		"apr-1":  {make: either("participantType", "actor"), fix: "add participantType or actor"},
		"ces-1":  {make: oneOf("category", "productOrService"), fix: "send either category or productOrService"},
		"cmp-1":  {make: either("text", "entry", "section"), fix: "add text, entry or section"},
		"cmp-2":  {make: notBoth("emptyReason", "entry"), fix: "leave emptyReason out"},
		"cpb-1":  {make: either("rest", "messaging", "document"), fix: "add rest, messaging or document"},
		"cpb-2":  {make: either("description", "software", "implementation"), fix: "add description, software or implementation"},
		"fhs-1":  {make: notBoth("age", "born"), fix: "leave out age or born"},
		"fhs-2":  {make: needs("estimatedAge", "age"), fix: "leave estimatedAge out"},
		"imr-1":  {make: either("vaccineCode", "targetDisease"), fix: "add vaccineCode or targetDisease"},
		"ipn-1":  {make: either("identifier", "name"), fix: "add an identifier or a name"},
		"lst-1":  {make: notBoth("emptyReason", "entry"), fix: "leave emptyReason out"},
		"mad-1":  {make: either("dose", "rate"), fix: "add dose or rate"},
		"msq-5":  {make: together("chromosome", "genomeBuild"), fix: "send chromosome and genomeBuild, or neither"},
		"nor-1":  {make: either("oralDiet", "supplement", "enteralFormula"), fix: "add oralDiet, supplement or enteralFormula"},
		"opd-1":  {make: either("type", "part"), fix: "add type or part"},
		"ppc-1":  {make: either("policy", "policyRule"), fix: "add policy or policyRule"},
		"que-4":  {make: notBoth("answerOption", "answerValueSet"), fix: "leave out answerOption or answerValueSet"},
		"que-11": {make: notBoth("answerOption", "initial"), fix: "leave initial out, and say initialSelected in answerOption"},
		"rqg-1":  {make: oneOf("resource", "action"), fix: "send either resource or action"},
		"sdf-2":  {make: either("name", "uri"), fix: "add name or uri"},
		"sdf-6":  {make: either("snapshot", "differential"), fix: "add a snapshot or a differential"},
		"sdf-10": {make: boundOrDescribed, fix: "add valueSet or description to the binding"},
		"sev-1":  {make: notBoth("name", "query"), fix: "leave out name or query"},
		"smp-1":  {make: needs("element", "context"), fix: "add context"},
		"smp-2":  {make: needs("context", "contextType"), fix: "add contextType"},
		"spd-1":  {make: needs("xpath", "xpathUsage"), fix: "add xpathUsage"},
		"tcp-2":  {make: either("description", "software", "implementation"), fix: "add description, software or implementation"},
		"tst-1":  {make: oneOf("operation", "assert"), fix: "send either operation or assert"},
		"tst-2":  {make: oneOf("operation", "assert"), fix: "send either operation or assert"},
		"vsd-1":  {make: either("valueSet", "system"), fix: "add valueSet or system"},
		"vsd-3":  {make: notBoth("concept", "filter"), fix: "leave out concept or filter"},
		"vsd-6":  {make: either("code", "display"), fix: "add code or display"},
		"vsd-9":  {make: codeUnlessAbstract, fix: "add a code, or say that it is abstract"},
		"vsd-10": {make: needs("code", "system"), fix: "add the system"},

		"inv-1 TestReport.setup.action": {make: oneOf("operation", "assert"), fix: "send either operation or assert"},
		"inv-2 TestReport.test.action":  {make: oneOf("operation", "assert"), fix: "send either operation or assert"},

		"pd-1":       {make: either("telecom", "endpoint"), fix: "add telecom or endpoint"},
		"sdcqr-1":    {make: either("subject"), fix: "add the subject"},
		"us-core-13": {make: either("practitioner", "organization", "healthcareService", "location"), fix: "add a practitioner, organization, healthcareService or location"},
		"us-core-14": {make: either("name", "relationship"), fix: "add a name or a relationship"},
		"us-core-6 DocumentReference.content.attachment": {make: either("url", "data"), fix: "add url or data"},

		"eld-1":  {make: either("discriminator", "description"), fix: "add a discriminator or a description"},
		"eld-2":  {make: minUpToMax, fix: "correct min or max"},
		"eld-3":  {make: maxIsNumber, fix: "send a whole number from 0 on, or *", text: true},
		"eld-4":  {make: forReferences("aggregation"), fix: "leave aggregation out"},
		"eld-5":  {make: notWith("contentReference", "type", "defaultValue", "fixed", "pattern", "example", "minValue", "maxValue", "maxLength", "binding"), fix: "leave out what the contentReference says"},
		"eld-6":  {make: onlyWithOne("fixed", "type"), fix: "send one type, or leave the fixed value out"},
		"eld-7":  {make: onlyWithOne("pattern", "type"), fix: "send one type, or leave the pattern out"},
		"eld-8":  {make: notBoth("pattern", "fixed"), fix: "leave out the pattern or the fixed value"},
		"eld-11": {make: bindable, fix: "leave the binding out"},
		"eld-12": {make: valueSetURL, fix: "send an absolute URL"},
		"eld-13": {make: distinctBy("type", "code"), fix: "send each type once"},
		"eld-14": {make: distinctBy("constraint", "key"), fix: "give each constraint its own key"},
		"eld-15": {make: notBoth("defaultValue", "meaningWhenMissing"), fix: "leave out defaultValue or meaningWhenMissing"},
		"eld-16": {make: shaped("sliceName", `^[a-zA-Z0-9/\-_\[\]@]+$`), fix: "use letters, digits and /-_[]@ only"},
		"eld-17": {make: forReferences("targetProfile"), fix: "leave targetProfile out"},
		"eld-18": {make: modifierExplained, fix: "add isModifierReason"},
		"eld-19": {make: shaped("path", `^`+elementName+`(\.`+elementName+`(\[x\])?(:[^\s.]+)?)*$`), fix: "leave out the special characters"},
		"eld-20": {make: shaped("path", `^[A-Za-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*(\[x])?)*$`), fix: "use letters and digits only"},
		"eld-21": {make: either("expression"), fix: "add an expression"},
		"eld-22": {make: needs("sliceIsConstraining", "sliceName"), fix: "add sliceName, or leave sliceIsConstraining out"},
	}
	return all
}

func absent(name string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		bit := c.bit(name)
		return func(_ *walker, _ int, has uint64) bool { return has&bit == 0 }
	}
}

// containedLack holds if no contained resource has the member, or one of the members of it.
func containedLack(name string, members ...string) func(*plan, *class) check {
	return func(p *plan, c *class) check {
		of := c.ordinal("contained")
		if of < 0 {
			return nil
		}
		bit := c.bit("contained")
		return func(w *walker, n int, has uint64) bool {
			if has&bit == 0 {
				return true
			}
			m := &c.members[of]
			for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
				inner := w.classAt(k)
				if inner == nil || w.nodes[k].slot&unfit != 0 {
					continue
				}
				at := w.child(k, inner.ordinal(name))
				if at < 0 {
					continue
				}
				if len(members) == 0 {
					return false
				}
				if meta := w.classAt(at); meta != nil && w.nodes[at].slot&unfit == 0 && w.members(at)&meta.bits(members) != 0 {
					return false
				}
			}
			return true
		}
	}
}

// narrated is only recommended, and so only told to who wants to hear it.
func narrated(_ *plan, c *class) check {
	text := c.bit("text")
	return func(w *walker, _ int, has uint64) bool {
		return w.opt.Recommended == Quiet || has&text != 0
	}
}

// componentCodes is obs-7: no component has a code of the Observation if that has a value.
func componentCodes(p *plan, c *class) check {
	value, component := c.bit("value"), c.bit("component")
	code, components := c.ordinal("code"), c.ordinal("component")
	part := p.slots[c.members[components].first].class.ordinal("code")
	return func(w *walker, n int, has uint64) bool {
		if has&value == 0 || has&component == 0 {
			return true
		}
		// Sorted, so that a resource with very many codes takes no longer for its length.
		from := len(w.items)
		w.codings(w.child(n, code), func(k int) bool {
			w.items = append(w.items, item{node: int32(k)})
			return true
		})
		own := w.items[from:]
		slices.SortFunc(own, w.byCoding)
		distinct := true
		m := &c.members[components]
		for k := w.first(n, m, 0); k >= 0 && distinct; k = w.sibling(n, k, m, 0) {
			if w.nodes[k].slot&unfit == 0 {
				distinct = w.codings(w.child(k, part), func(k int) bool {
					_, found := slices.BinarySearchFunc(own, item{node: int32(k)}, w.byCoding)
					return !found
				})
			}
		}
		w.items = w.items[:from]
		return distinct
	}
}

// codings calls f for each Coding of the CodeableConcept at node n until it returns false,
// and reports whether it never did.
func (w *walker) codings(n int, f func(k int) bool) bool {
	if n < 0 || w.nodes[n].slot&unfit != 0 {
		return true
	}
	c := w.classAt(n)
	m := &c.members[c.ordinal("coding")]
	for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
		if w.nodes[k].slot&unfit == 0 && !f(k) {
			return false
		}
	}
	return true
}

// byCoding orders Codings by their elements. Two that have the same are what FHIRPath calls
// equal. http://hl7.org/fhirpath/#equals
func (w *walker) byCoding(a, b item) int {
	c := w.classAt(int(a.node))
	for _, name := range [...]string{"code", "system", "version", "display"} {
		o := c.ordinal(name)
		if order := bytes.Compare(w.text(w.child(int(a.node), o)), w.textIn(1, w.child(int(b.node), o))); order != 0 {
			return order
		}
	}
	return 0
}

func ordered(from, to string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		a, b := c.ordinal(from), c.ordinal(to)
		both := c.bit(from) | c.bit(to)
		return func(w *walker, n int, has uint64) bool {
			return has&both != both || !later(w.text(w.child(n, a)), w.textIn(1, w.child(n, b)))
		}
	}
}

// number is the text of the number at node n, nil if there is none.
func (w *walker) numberAt(n int) []byte {
	if n < 0 || w.nodes[n].slot&(unfit|null) != 0 {
		return nil
	}
	start := int(w.nodes[n].start)
	if c := w.body[start]; c != '-' && (c < '0' || c > '9') {
		return nil
	}
	return w.body[start:w.skip(start)]
}

// rangeInOrder compares low and high if they have the same unit. If they have not, FHIRPath
// has no answer.
func rangeInOrder(p *plan, c *class) check {
	low, high := c.ordinal("low"), c.ordinal("high")
	both := c.bit("low") | c.bit("high")
	q := p.ofType("Quantity")
	value, unit, system, code := q.ordinal("value"), q.ordinal("unit"), q.ordinal("system"), q.ordinal("code")
	return func(w *walker, n int, has uint64) bool {
		if has&both != both {
			return true
		}
		a, b := w.child(n, low), w.child(n, high)
		if a < 0 || b < 0 || (w.nodes[a].slot|w.nodes[b].slot)&unfit != 0 {
			return true
		}
		same := func(o int) bool { return string(w.text(w.child(a, o))) == string(w.textIn(1, w.child(b, o))) }
		coded := w.child(a, code) >= 0 || w.child(b, code) >= 0
		if coded && !(same(system) && same(code)) || !coded && !same(unit) {
			return true
		}
		x, y := w.numberAt(w.child(a, value)), w.numberAt(w.child(b, value))
		return x == nil || y == nil || compare(x, y) <= 0
	}
}

// rangeAgrees holds if low and high both have the member, and the same.
func rangeAgrees(name string) func(*plan, *class) check {
	return func(p *plan, c *class) check {
		low, high := c.ordinal("low"), c.ordinal("high")
		o := p.ofType("Quantity").ordinal(name)
		return func(w *walker, n int, _ uint64) bool {
			a, b := w.child(n, low), w.child(n, high)
			if a < 0 || b < 0 {
				return false
			}
			x := w.text(w.child(a, o))
			return x != nil && string(x) == string(w.textIn(1, w.child(b, o)))
		}
	}
}

func ratio(_ *plan, c *class) check {
	numerator, denominator, extension := c.bit("numerator"), c.bit("denominator"), c.bit("extension")
	return func(_ *walker, _ int, has uint64) bool {
		a, b := has&numerator != 0, has&denominator != 0
		return a == b && (a || has&extension != 0)
	}
}

const ucum = "http://unitsofmeasure.org"

// quantityOf is the rule of the kinds of Quantity: a value has a code, the system is UCUM,
// and the value is what it must be.
func quantityOf(fits func(w *walker, value []byte, code []byte) bool) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		value, system, code := c.ordinal("value"), c.ordinal("system"), c.ordinal("code")
		return func(w *walker, n int, has uint64) bool {
			if has&(1<<value) != 0 && has&(1<<code) == 0 {
				return false
			}
			if k := w.child(n, system); k >= 0 && string(w.text(k)) != ucum {
				return false
			}
			return fits == nil || fits(w, w.numberAt(w.child(n, value)), w.text(w.child(n, code)))
		}
	}
}

func positive(_ *walker, value, _ []byte) bool {
	return value == nil || compare(value, []byte("0")) > 0
}

func counted(_ *walker, value, code []byte) bool {
	return (code == nil || string(code) == "1") && !strings.Contains(string(value), ".")
}

func duration(_ *plan, c *class) check {
	value, system, code := c.bit("value"), c.ordinal("system"), c.bit("code")
	return func(w *walker, n int, has uint64) bool {
		return has&code == 0 || has&value != 0 && string(w.text(w.child(n, system))) == ucum
	}
}

func money(_ *plan, c *class) check {
	value, system, code := c.bit("value"), c.ordinal("system"), c.bit("code")
	return func(w *walker, n int, has uint64) bool {
		k := w.child(n, system)
		return (has&value == 0 || has&code != 0) && (k < 0 || string(w.text(k)) == "urn:iso:std:iso:4217")
	}
}

func trigger(_ *plan, c *class) check {
	kind, name, timing, data := c.ordinal("type"), c.bit("name"), c.bit("timing"), c.bit("data")
	return func(w *walker, n int, has uint64) bool {
		switch t := string(w.text(w.child(n, kind))); {
		case t == "named-event":
			return has&name != 0
		case t == "periodic":
			return has&timing != 0
		case strings.HasPrefix(t, "data-"):
			return has&data != 0
		}
		return true
	}
}

func notNegative(name string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		o := c.ordinal(name)
		return func(w *walker, n int, has uint64) bool {
			if has&(1<<o) == 0 {
				return true
			}
			v := w.numberAt(w.child(n, o))
			return v == nil || compare(v, []byte("0")) >= 0
		}
	}
}

func offset(_ *plan, c *class) check {
	bit, when := c.bit("offset"), c.ordinal("when")
	return func(w *walker, n int, has uint64) bool {
		if has&bit == 0 {
			return true
		}
		k := w.child(n, when)
		if k < 0 {
			return false
		}
		m := &c.members[when]
		if w.sibling(n, k, m, 0) >= 0 {
			return true // "in" has no answer for several values
		}
		switch string(w.text(k)) {
		case "C", "CM", "CD", "CV":
			return false
		}
		return true
	}
}

// parameter is inv-1 of Parameters: one of value, resource and part.
func parameter(_ *plan, c *class) check {
	value, resource, part := c.bit("value"), c.bit("resource"), c.bit("part")
	return func(_ *walker, _ int, has uint64) bool {
		a, b, d := has&value != 0, has&resource != 0, has&part != 0
		return d && !a && !b || !d && a != b
	}
}

// dayOf holds if a dateTime is at least so long. A Period or Timing has no such rule.
func dayOf(length int) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		return func(w *walker, n int, _ uint64) bool {
			t := w.text(n)
			return t == nil || len(t) >= length
		}
	}
}

// measured holds if an Observation without components and members has a value or says why not.
func measured(_ *plan, c *class) check {
	bits := c.bits([]string{"component", "hasMember", "dataAbsentReason", "value"})
	return func(_ *walker, _ int, has uint64) bool { return has&bits != 0 }
}

// valueSystem holds if a value of the type has no system or the given one.
func valueSystem(typ, system string) func(*plan, *class) check {
	return func(p *plan, c *class) check {
		if c == nil {
			return nil
		}
		own := c.ordinal("value")
		return func(w *walker, n int, _ uint64) bool {
			if w.classAt(n) == c && c.name == "Observation" {
				if n = w.child(n, own); n < 0 {
					return true
				}
			}
			v := w.classAt(n)
			if v == nil || v.name != typ || w.nodes[n].slot&unfit != 0 {
				return true
			}
			if o := v.ordinal("system"); o >= 0 {
				k := w.child(n, o)
				return k < 0 || string(w.text(k)) == system
			}
			systems, same := 0, true
			coding := &v.members[v.ordinal("coding")]
			for k := w.first(n, coding, 0); k >= 0; k = w.sibling(n, k, coding, 0) {
				if s := w.child(k, w.plan.byType["Coding"].ordinal("system")); s >= 0 {
					systems++
					same = same && string(w.text(s)) == system
				}
			}
			// Two systems are not equal to one: FHIRPath compares collections as a whole.
			return systems == 0 || systems == 1 && same
		}
	}
}

func codedBy(system string) func(*plan, *class) check {
	return func(p *plan, c *class) check {
		coding := c.ordinal("coding")
		if coding < 0 {
			return nil
		}
		o := p.ofType("Coding").ordinal("system")
		return func(w *walker, n int, _ uint64) bool {
			m := &c.members[coding]
			for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
				if string(w.text(w.child(k, o))) == system {
					return true
				}
			}
			return false
		}
	}
}

// nameGiven is us-core-6: a name has parts, or the reason why it has none.
func nameGiven(_ *plan, c *class) check {
	parts := c.bits([]string{"family", "given"})
	return func(w *walker, n int, has uint64) bool {
		return (has&parts != 0) != w.hasExtension(n, c, "http://hl7.org/fhir/StructureDefinition/data-absent-reason")
	}
}

// hasExtension reports whether the object of class c at node n has an extension of that URL.
func (w *walker) hasExtension(n int, c *class, url string) bool {
	o := c.ordinal("extension")
	if o < 0 {
		return false
	}
	m := &c.members[o]
	of := w.plan.extension.ordinal("url")
	for k := w.first(n, m, 0); k >= 0; k = w.sibling(n, k, m, 0) {
		if w.nodes[k].slot&unfit == 0 && string(w.text(w.child(k, of))) == url {
			return true
		}
	}
	return false
}

func extensionsHave(urls ...string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		return func(w *walker, n int, _ uint64) bool {
			for _, u := range urls {
				if w.hasExtension(n, c, u) {
					return true
				}
			}
			return false
		}
	}
}

func jurisdictions(_ *plan, c *class) check {
	return func(w *walker, n int, _ uint64) bool {
		return !w.hasExtension(n, c, "noApprovedJurisdictions") || !w.hasExtension(n, c, "approvedJurisdiction")
	}
}

func notUsedAs(use string) func(*plan, *class) check {
	return func(_ *plan, c *class) check {
		o := c.ordinal("use")
		if o < 0 {
			return nil
		}
		return func(w *walker, n int, _ uint64) bool { return string(w.text(w.child(n, o))) != use }
	}
}
