package ihepcd

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
)

// node is an MDS, VMD or channel of an order.
type node struct {
	part      part
	row       *row // nil where nothing but product specifications tell of the part
	heading   bool // announces a compound metric and is no device
	inherited bool // told in an order before: its time is not that of this one
	own       equipment
	product   fhir.DeviceSpec // manufacturer, model, serial number and versions only
	spec      fhir.DeviceSpec // what identifies the device
	device    *devpb.Device   // nil where it cannot be told from others
	// identified tells that the device is known by something of its own.
	identified bool
}

// readParts makes Devices of the rows of the device tree. An order without such rows
// continues the tree of the order before it, if that is about the same patient.
func (r *report) readParts(o, before *order) {
	o.nodes = map[part]*node{}
	if before != nil && before.patient == o.patient && !slices.ContainsFunc(o.rows, func(x *row) bool { return x.kind == device }) {
		for p, n := range before.nodes {
			if !n.heading {
				inherited := *n
				inherited.inherited = true
				o.nodes[p] = &inherited
			}
		}
	}
	var fresh []*node
	for _, x := range o.rows {
		p := x.place.owner()
		have, ok := o.nodes[p]
		switch x.kind {
		case device:
			switch {
			case !ok || have.heading:
				n := &node{part: p, row: x}
				n.own, _ = r.ownEquipment(x)
				o.nodes[p] = n
				fresh = append(fresh, n)
			case have.row != nil && content(have.row) == content(x):
				r.work.skip(x, &problem{fhir.Information, fhir.CodeDuplicate, 4, "the row repeats " + have.row.Path(), ""})
			default:
				r.work.skip(x, &problem{fhir.SevError, fhir.CodeConflict, 4, "another row has the same place in the device and says something else", "give each MDS, VMD and channel a place of its own in OBX-4"})
			}
		case heading:
			if !ok {
				o.nodes[p] = &node{part: p, row: x, heading: true}
			}
		}
	}
	described := r.readProducts(o, &fresh)
	slices.SortStableFunc(fresh, func(a, b *node) int { return cmp.Compare(a.part.level(), b.part.level()) })
	for _, n := range fresh {
		r.build(o, n)
		if n.row == nil {
			continue
		}
		if n.device == nil {
			r.work.skip(n.row, &problem{fhir.Information, fhir.CodeInformational, 18, "the device has no identity, and neither a patient nor a bed tells it from others", "send OBX-18 with the EUI-64 of the device"})
			continue
		}
		r.work.Mapped++
	}
	for _, d := range described {
		if d.node.device == nil {
			r.work.skip(d.row, &problem{fhir.Information, fhir.CodeInformational, 3, "the row describes a device that cannot be told from others", "send OBX-18 with the EUI-64 of the device"})
			continue
		}
		r.work.Mapped++
	}
}

// description is a row of a product specification and the part that it describes.
type description struct {
	row  *row
	node *node
}

// readProducts reads maker, model, serial number and versions. They belong to the part
// that their OBX-4 lies in; where no row tells of it, to an MDS that is added.
func (r *report) readProducts(o *order, fresh *[]*node) []description {
	var found []description
	for _, x := range o.rows {
		if x.kind != attribute {
			continue
		}
		text := line(x.Field(5).Text())
		if text == "" || len(text) > maxField {
			r.work.skip(x, &problem{fhir.Information, fhir.CodeValue, 5, "the row says nothing of the product", ""})
			continue
		}
		n := o.above(x.place.owner())
		if n != nil && n.inherited {
			r.work.skip(x, &problem{fhir.Information, fhir.CodeInformational, 3, "the row describes a device of an order before", "send it with the rows of the device"})
			continue
		}
		if n == nil {
			n = &node{part: part{mds: x.place.n[0]}}
			o.nodes[n.part] = n
			*fresh = append(*fresh, n)
		}
		switch productSpecification(x.code) {
		case "MDC_ID_MODEL_MANUFACTURER":
			n.product.Manufacturer = text
		case "MDC_ID_MODEL_NUMBER":
			n.product.Model = text
		case "MDC_ID_PROD_SPEC_SERIAL":
			n.product.Serial = text
		case "MDC_ID_PROD_SPEC_HW":
			n.product.Hardware = text
		case "MDC_ID_PROD_SPEC_SW":
			n.product.Software = text
		case "MDC_ID_PROD_SPEC_FW":
			n.product.Firmware = text
		}
		found = append(found, description{x, n})
	}
	return found
}

// above is the nearest device at p or above it, nil if there is none.
func (o *order) above(p part) *node {
	for {
		if n, ok := o.nodes[p]; ok && !n.heading {
			return n
		}
		if p == p.above() {
			return nil
		}
		p = p.above()
	}
}

// build makes the Device of n. What has an identity of its own is known by it; a VMD or
// channel by its place in the device that it is part of; and a device without any
// identity by patient, gateway and bed, so that two beds' monitors are never one.
func (r *report) build(o *order, n *node) {
	var parent *node
	if n.part != n.part.above() {
		parent = o.above(n.part.above())
	}
	for up := parent; up != nil; up = o.above(up.part.above()) {
		if n.own.same(up.own) {
			n.own = equipment{} // what is inherited is repeated
		}
		if up.part == up.part.above() {
			break
		}
	}
	kind := ""
	if n.row != nil {
		kind = n.row.code.name()
	}
	isPart := false
	switch {
	case !n.own.isZero():
		n.identified = true
		n.spec.Identifiers = n.own.identifiers
		n.spec.Part = n.own.entity
		if n.part.level() != mds {
			// Several modules in one housing share the identifier of the housing.
			n.spec.Part = strings.Join([]string{n.own.entity, kind}, "/")
		}
	case n.product.Serial != "" && (n.product.Manufacturer != "" || n.product.Model != ""):
		n.identified = true
		n.spec = n.product
	case parent != nil && parent.device != nil:
		isPart = true
		n.spec = parent.spec
		n.spec.Part = parent.spec.Part + "/" + placeIn(n.part) + "/" + kind
	case parent != nil:
		return
	default:
		var ok bool
		if n.spec, ok = r.anonymous(o, n.part, kind); !ok {
			return
		}
	}
	spec := n.spec
	spec.Hardware, spec.Software, spec.Firmware = n.product.Hardware, n.product.Software, n.product.Firmware
	if n.row != nil && !n.row.code.isEmpty() {
		spec.Type = r.work.concept(n.row.Field(3), "")
	}
	if parent != nil && parent.device != nil {
		spec.Parent = fhir.ReferenceTo("Device", parent.device.GetId().GetValue())
	}
	n.device = fhir.NewDevice(spec)
	if isPart {
		n.device.Identifier = nil // that of the whole, not of the part
	}
	n.device.Manufacturer = fhir.Text(n.product.Manufacturer)
	n.device.ModelNumber = fhir.Text(n.product.Model)
	n.device.SerialNumber = fhir.Text(n.product.Serial)
	if n.row != nil {
		describe(n.device, n.row.prt)
		r.checkCode(n.row)
	}
	n.device = r.work.addDevice(n.device)
}

// checkCode warns where the type of a device is in doubt.
func (r *report) checkCode(x *row) {
	if x.code.doubt != "" {
		r.work.Warn(fhir.CodeBusinessRule, x.FieldPath(3), x.code.fix, "%s", x.code.doubt)
	}
}

// placeIn is the place of a part in its MDS.
func placeIn(p part) string {
	return strconv.FormatUint(uint64(p.vmd), 10) + "." + strconv.FormatUint(uint64(p.channel), 10)
}

// anonymous identifies a device that tells no identity: it is one per patient, gateway,
// bed, number in the message and type. Without a patient there must be a gateway and a bed.
func (r *report) anonymous(o *order, p part, kind string) (fhir.DeviceSpec, bool) {
	patient := r.subject(o)
	if patient.IsZero() && (r.sender.isZero() || o.location == "") {
		return fhir.DeviceSpec{}, false
	}
	number := strconv.FormatUint(uint64(p.mds), 10)
	return fhir.DeviceSpec{
		Owner: patient,
		Part:  strings.Join([]string{"anonymous", r.sender.app, r.sender.facility, o.location, number, placeIn(p), kind}, "|"),
	}, true
}

// addDevice adds d, and returns the device of that id.
func (w *work) addDevice(d *devpb.Device) *devpb.Device {
	id := d.GetId().GetValue()
	if have, ok := w.devices[id]; ok {
		return have
	}
	if owner := d.GetPatient().GetIdentifier(); owner != nil {
		w.addPatient(fhir.Identifier{System: owner.GetSystem().GetValue(), Value: owner.GetValue().GetValue()})
	}
	w.devices[id] = d
	w.Devices = append(w.Devices, d)
	return d
}

// ownEquipment is the identity that a row itself tells, and the field that tells it:
// the first repetition of OBX-18, which is the lowest level, else PRT-10.
func (r *report) ownEquipment(x *row) (equipment, string) {
	f, path := x.Field(18), ""
	if f.IsEmpty() {
		for _, p := range x.prt {
			if f = p.Field(10); !f.IsEmpty() {
				path = p.FieldPath(10)
				break
			}
		}
	}
	if f.IsEmpty() || len(f.Raw()) > maxField {
		return equipment{}, ""
	}
	if e, ok := r.own[f.Raw()]; ok {
		return e, f.Raw()
	}
	if path == "" {
		path = x.FieldPath(18)
	}
	e, doubt := readEquipment(f.Rep(1), r.sender)
	r.own[f.Raw()] = e
	if doubt != "" {
		r.warnOnce(doubt, fhir.CodeBusinessRule, path, "send the EUI-64 of the device as ^^0123456789ABCDEF^EUI-64", doubt)
	}
	for i, rep := range f.All() {
		if i == 1 || rep.IsEmpty() {
			continue
		}
		if other, _ := readEquipment(rep, r.sender); !other.isZero() && !other.same(e) && !r.isTold(other) {
			r.warnOnce("repetitions", fhir.CodeBusinessRule, path, "send OBX-18 in the rows of MDS, VMD and channel", "only the first equipment identifier, which is the lowest level, is used")
		}
	}
	return e, f.Raw()
}

// isTold tells that e has a row of its own in the message: then nothing is lost where
// it is repeated.
func (r *report) isTold(e equipment) bool {
	if r.told == nil {
		r.told = map[string]bool{}
		for _, o := range r.orders {
			for _, x := range o.rows {
				if x.kind != device || len(x.Field(18).Raw()) > maxField {
					continue
				}
				if is, _ := readEquipment(x.Field(18).Rep(1), r.sender); !is.isZero() {
					r.told[is.key()] = true
				}
			}
		}
	}
	return r.told[e.key()]
}

// equipmentOf is the device that measured: the one that the row names, else the nearest
// channel, VMD or MDS above it that has an identity of its own, else the highest that
// has none. It is nil where nothing is known of a device but the patient is; where
// there is neither, the reading cannot be told from those of other beds.
func (r *report) equipmentOf(o *order, x *row) (*devpb.Device, *problem) {
	start := o.above(x.place.owner())
	if x.place.depth == 0 {
		start = o.onlyMDS()
	}
	var identified, highest *node
	own, raw := r.ownEquipment(x)
	for n := start; n != nil; n = o.above(n.part.above()) {
		if own.same(n.own) && n.device != nil {
			return n.device, nil
		}
		if identified == nil && n.identified {
			identified = n
		}
		if n.device != nil {
			highest = n
		}
		if n.part == n.part.above() {
			break
		}
	}
	switch {
	case !own.isZero():
		return r.module(x, own, raw, identified), nil
	case identified != nil:
		return identified.device, nil
	case highest != nil:
		return highest.device, nil
	case !r.subject(o).IsZero():
		return nil, nil
	}
	spec, ok := r.anonymous(o, part{mds: x.place.n[0]}, "")
	if !ok {
		return nil, &problem{fhir.SevError, fhir.CodeRequired, 0, "the message names neither patient nor device nor bed: the reading could be anybody's",
			"state the patient: patient=system|value in the source's configuration; or send PID-3, OBX-18 or a bed in PV1-3"}
	}
	return r.work.addDevice(fhir.NewDevice(spec)), nil
}

// module is the Device that a metric row names beside those of the tree: a module of
// its own, as a rule in the nearest device above.
func (r *report) module(x *row, own equipment, raw string, in *node) *devpb.Device {
	spec := fhir.DeviceSpec{Identifiers: own.identifiers, Part: own.entity}
	key := raw
	if in != nil {
		id := in.device.GetId().GetValue()
		spec.Parent = fhir.ReferenceTo("Device", id)
		key += "\x00" + id
	}
	if d, ok := r.modules[key]; ok {
		return d
	}
	d := fhir.NewDevice(spec)
	describe(d, x.prt)
	d = r.work.addDevice(d)
	r.modules[key] = d
	return d
}

// onlyMDS is the MDS of an order that has exactly one.
func (o *order) onlyMDS() *node {
	var found *node
	for p, n := range o.nodes {
		if p.level() != mds || n.heading {
			continue
		}
		if found != nil {
			return nil
		}
		found = n
	}
	return found
}

// settleHeadings accounts for the rows that announce a compound metric: they are part
// of it if one of its parts was mapped.
func (r *report) settleHeadings(o *order) {
	for _, x := range o.rows {
		if x.kind != heading {
			continue
		}
		mapped := false
		for p := range o.measured {
			mapped = mapped || p == x.place.owner() || p.above() == x.place.owner() || p.above().above() == x.place.owner()
		}
		if mapped {
			r.work.Mapped++
			continue
		}
		r.work.skip(x, &problem{fhir.Information, fhir.CodeInformational, 3, "the row announces a metric of which no part is there", ""})
	}
}

// content is what a row says: the segment without its set id.
func content(x *row) string {
	_, rest, _ := strings.Cut(x.Raw(), "OBX")
	if rest == "" {
		return ""
	}
	_, rest, _ = strings.Cut(rest[1:], rest[:1])
	return rest
}

// describe adds what PRT segments tell of a device: UDI-DI, dates, lot, serial number.
// HL7 2.9, 7.4.4
func describe(d *devpb.Device, participations []hl7v2.Segment) {
	for _, p := range participations {
		if role := trim(p.Field(4).Value()); role != "" && role != "EQUIP" {
			continue
		}
		if di := line(p.Field(16).Value()); di != "" && len(d.UdiCarrier) == 0 {
			d.UdiCarrier = []*devpb.Device_UdiCarrier{{DeviceIdentifier: fhir.Text(di)}}
		}
		if t, err := hl7v2.ParseTime(trim(p.Field(17).Value())); err == nil {
			d.ManufactureDate = fhir.DateTime(date(t.Wall), min(fhir.Precision(t.Precision), fhir.Day))
		}
		if t, err := hl7v2.ParseTime(trim(p.Field(18).Value())); err == nil {
			d.ExpirationDate = fhir.DateTime(date(t.Wall), min(fhir.Precision(t.Precision), fhir.Day))
		}
		if lot := line(p.Field(19).Text()); lot != "" {
			d.LotNumber = fhir.Text(lot)
		}
		if serial := line(p.Field(20).Text()); serial != "" && d.SerialNumber == nil {
			d.SerialNumber = fhir.Text(serial)
		}
		if donation := line(p.Field(21).Value()); donation != "" {
			d.DistinctIdentifier = fhir.Text(donation)
		}
	}
}

// date is the day of t, without a place on earth.
func date(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}
