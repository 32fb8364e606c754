package ihepcd

import (
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
)

// place is where OBX-4 puts a row in the containment of the device:
// MDS.VMD.CHAN.METRIC.FACET.SUBFACET, with fewer numbers in the short form of personal
// devices. Numbers are compared as numbers.
// IHE PCD Technical Framework, volume 2, appendix B.8.4
type place struct {
	n     [6]uint32
	depth int // how many numbers there are; 0 where OBX-4 tells no place
}

// part is an MDS (VMD and channel 0), a VMD (channel 0) or a channel.
type part struct{ mds, vmd, channel uint32 }

// readPlace reads OBX-4. What is empty or no row of numbers is no place.
func readPlace(text string) place {
	var p place
	text = trim(text)
	if text == "" {
		return p
	}
	for rest, more := text, true; more; {
		var number string
		number, rest, more = strings.Cut(rest, ".")
		n := uint64(0)
		for i := range len(number) {
			c := number[i]
			if c < '0' || c > '9' {
				return place{}
			}
			n = n*10 + uint64(c-'0')
			if n > 1<<32-1 {
				return place{}
			}
		}
		if number == "" || p.depth == len(p.n) {
			return place{}
		}
		p.n[p.depth] = uint32(n)
		p.depth++
	}
	return p
}

// owner is the part that the place lies in, or is.
func (p place) owner() part { return part{p.n[0], p.n[1], p.n[2]} }

// below is the place inside its MDS. The number of the MDS is that of a message, not of
// a device: it says nothing when the device is known.
func (p place) below() string {
	text := make([]byte, 0, 24)
	for i := 1; i < p.depth; i++ {
		if i > 1 {
			text = append(text, '.')
		}
		text = strconv.AppendUint(text, uint64(p.n[i]), 10)
	}
	return string(text)
}

// metric is the place without facets.
func (p place) metric() place {
	p.n[4], p.n[5] = 0, 0
	p.depth = min(p.depth, 4)
	return p
}

// isPart tells that the place is that of an MDS, VMD or channel: it has no metric, or
// the metric is 0.
func (p place) isPart() bool { return p.depth > 0 && (p.depth < 4 || p.depth == 4 && p.n[3] == 0) }

// isFacet tells that the place is inside a metric.
func (p place) isFacet() bool { return p.depth > 4 && p.n[3] != 0 && p.n[4] != 0 }

// level of a part in the tree.
type level int

const (
	mds level = iota
	vmd
	channel
)

func (p part) level() level {
	switch {
	case p.channel != 0:
		return channel
	case p.vmd != 0:
		return vmd
	default:
		return mds
	}
}

// above is the next part up, p itself at the top.
func (p part) above() part {
	switch p.level() {
	case channel:
		if p.vmd == 0 {
			return part{mds: p.mds}
		}
		return part{p.mds, p.vmd, 0}
	default:
		return part{mds: p.mds}
	}
}

// row is one OBX segment with what belongs to it.
type row struct {
	hl7v2.Segment
	place place
	code  *coded
	kind  kind
	prt   []hl7v2.Segment // participations that follow it
}

func newRow(s hl7v2.Segment, c *coded) *row {
	x := &row{Segment: s, place: readPlace(s.Field(4).Value()), code: c}
	x.kind = kindOf(x)
	return x
}

// hasValue tells that OBX-5 says something.
func (x *row) hasValue() bool { return !x.Field(5).IsEmpty() }

// kind says what a row is.
type kind int

const (
	metric    kind = iota
	device         // MDS, VMD or channel
	heading        // announces the parts of a compound metric, such as a blood pressure
	facet          // tells something about a metric
	attribute      // tells something about a device: maker, model, serial number
	deviceClock
)

// kindOf classifies a row by its place, its code and whether it has a value: OBX-4
// alone does not tell, because its short forms look like device rows.
func kindOf(x *row) kind {
	switch {
	case isClock(x.code):
		return deviceClock
	case productSpecification(x.code) != "":
		return attribute
	case x.place.isFacet():
		return facet
	case !x.place.isPart() || x.hasValue():
		return metric
	case x.code.isPhysiological():
		return heading
	default:
		return device
	}
}

// isClock recognises rows that describe the clock of the device.
func isClock(c *coded) bool {
	switch c.refid {
	case "MDC_ATTR_TIME_ABS", "MDC_ATTR_TIME_REL", "MDC_ATTR_TIME_BO", "MDC_ATTR_TIME_BO_REL", "MDC_TIME_SYNC_PROTOCOL",
		"MDC_TIME_SYNC_ACCURACY", "MDC_TIME_CAP_STATE", "MDC_TIME_RES_ABS", "MDC_TIME_RES_REL", "MDC_TIME_RES_BO":
		return true
	}
	switch c.number {
	case 67975, 67983, 68220:
		return true
	}
	return false
}

// productSpecification names what a row says of the product, or is "".
// IEEE 11073-10101, MDC_ID_…
func productSpecification(c *coded) string {
	names := [...]string{"MDC_ID_MODEL_NUMBER", "MDC_ID_MODEL_MANUFACTURER", "", "MDC_ID_PROD_SPEC_SERIAL", "", "MDC_ID_PROD_SPEC_HW", "MDC_ID_PROD_SPEC_SW", "MDC_ID_PROD_SPEC_FW"}
	const firstNumber = 531969
	byNumber := ""
	if c.number >= firstNumber && c.number < firstNumber+uint32(len(names)) {
		byNumber = names[c.number-firstNumber]
	}
	if c.refid == "" {
		return byNumber
	}
	if hasPrefix(c.refid, "MDC_ID_") && (c.number == 0 || byNumber == c.refid) {
		for _, n := range names {
			if n == c.refid {
				return n
			}
		}
	}
	return ""
}
