package search

import (
	"math"
	"strconv"

	"github.com/kiln-health/kiln/fhir"
)

// Position is a value of near: where a Location is, in degrees of WGS 84, north and east of
// the equator and the meridian of Greenwich. Latitudes are from -90 to 90, longitudes from
// -180 to 180. http://hl7.org/fhir/R4/location.html#positional
type Position struct {
	Param               string
	Latitude, Longitude float64
}

// Near is what near asks for: the positions within a distance, the edge included, of one.
// http://hl7.org/fhir/R4/location.html#positional
type Near struct {
	Latitude, Longitude float64 // degrees, in the ranges of a Position
	Kilometers          float64 // 0 or more
}

// DefaultKilometers are how far away near is where the search does not say, which R4 leaves
// to the server.
const DefaultKilometers = 25

// NearClaim says what near takes, for those who are about to use it.
const NearClaim = "latitude|longitude|distance|units: within the distance on a sphere of the mean radius of the earth, 25 km if none is sent, in km (if no units are sent), m, mi or [mi_i]"

// specNear is where R4 defines near.
const specNear = "http://hl7.org/fhir/R4/location.html#positional"

const (
	// earthRadius is the mean radius in km of IUGG. Of the distances on the ellipsoid of WGS 84
	// those on the sphere differ by 0.6 % at most.
	earthRadius = 6371.0088
	// rounding in km, a millimeter, is more than the arithmetic may be wrong by for a place and
	// itself, as at the poles and on the date line, where it has several coordinates.
	rounding = 1e-6
)

// kilometersOf are the units of a distance.
var kilometersOf = map[string]float64{"": 1, "km": 1, "m": 0.001, "mi": 1.609344, "[mi_i]": 1.609344}

// nearValue reads latitude|longitude, with |distance and |units or without.
func nearValue(r *row, text string) (Value, *fhir.Error) {
	bad := func(why, fix string) (Value, *fhir.Error) {
		return Value{}, fhir.Errorf(fhir.CodeValue, r.Name, "a value of %s %s", r.Name, why).WithFix(fix).WithSpec(specNear)
	}
	part := parts(text)
	if len(part) < 2 || len(part) > 4 {
		return bad("is no position", "send latitude|longitude, latitude|longitude|distance or latitude|longitude|distance|units")
	}
	part = append(part, "", "")
	latitude, ok1 := degrees(part[0], 90)
	longitude, ok2 := degrees(part[1], 180)
	unit, ok3 := kilometersOf[part[3]]
	near := Near{latitude, longitude, DefaultKilometers}
	switch {
	case !ok1:
		return bad("has a latitude that is no number from -90 to 90", "send decimal degrees: the latitude, then the longitude")
	case !ok2:
		return bad("has a longitude that is no number from -180 to 180", "send decimal degrees: the latitude, then the longitude")
	case !ok3:
		return bad("has a distance in units that are not known here", "send km, m, mi or [mi_i], or no units for km")
	case part[2] != "":
		distance, ok := float(part[2])
		if !ok || distance < 0 {
			return bad("has a distance that is no number from 0 on", "send a number such as 5 or 0.25, or none for 25 km")
		}
		near.Kilometers = distance * unit
	}
	return Value{Near: &near}, nil
}

// degrees is a decimal from -most to most.
func degrees(text string, most float64) (float64, bool) {
	f, ok := float(text)
	return f, ok && math.Abs(f) <= most
}

// float is a FHIR decimal, rounded.
func float(text string) (float64, bool) {
	if decimal(text) == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// position reads a position. One without both coordinates, or with one that no place has, is none.
func (x *Extractor) position(n *node) {
	var latitude, longitude float64
	var ok1, ok2 bool
	for ok := x.object(); ok && x.more('}'); {
		switch string(x.member()) {
		case "latitude":
			latitude, ok1 = x.degrees(90)
		case "longitude":
			longitude, ok2 = x.degrees(180)
		default:
			x.skip()
		}
	}
	if x.odd || x.err != nil || !ok1 || !ok2 {
		return
	}
	for i := range n.leaves {
		all := x.terms.Positions
		l, start := &n.leaves[i], len(all)
		x.terms.Positions = take(x, l, plainTerm, append(all, Position{l.Name, latitude, longitude}), start, &keptPositions)
	}
}

func (x *Extractor) degrees(most float64) (float64, bool) {
	d := x.decimal()
	if d == nil {
		return 0, false
	}
	f, err := d.Float64()
	return f, err == nil && math.Abs(f) <= most
}

// near reports whether one of the values is about a circle that the position lies in.
func (c *Clause) near(p *Position) bool {
	for i := range c.Values {
		if n := c.Values[i].Near; n != nil && distance(n.Latitude, n.Longitude, p.Latitude, p.Longitude) <= n.Kilometers+rounding {
			return true
		}
	}
	return false
}

// distance is that of two places along the great circle, in km, by the haversine formula.
func distance(latitude1, longitude1, latitude2, longitude2 float64) float64 {
	const degree = math.Pi / 180
	north := math.Sin((latitude2 - latitude1) * degree / 2)
	east := math.Sin((longitude2 - longitude1) * degree / 2)
	h := north*north + math.Cos(latitude1*degree)*math.Cos(latitude2*degree)*east*east
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}
