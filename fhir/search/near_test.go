package search

import (
	"math"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
)

func locationAt(latitude, longitude string) string {
	return `{"resourceType":"Location","id":"l","position":{"latitude":` + latitude + `,"longitude":` + longitude + `}}`
}

// http://hl7.org/fhir/R4/location.html#positional
func TestALocationIsNearWithinTheDistanceOnTheSphere(t *testing.T) {
	for _, c := range []struct {
		name, latitude, longitude, query string
		want                             bool
	}{
		// One degree along a great circle of 6371.0088 km is 111.19508 km.
		{"a degree of latitude, from a little further", "1", "0", "near=0|0|111.196|km", true},
		{"a degree of latitude, from not so far", "1", "0", "near=0|0|111.194|km", false},
		{"a degree of longitude at the equator", "0", "1", "near=0|0|111.196", true},
		{"a degree of longitude at 60 degrees is half of that", "60", "1", "near=60|0|55.6", true},
		{"and no less", "60", "1", "near=60|0|55.59", false},
		{"west and south", "-33.8688", "-151.2093", "near=-33.8688|-151.2093|1|m", true},
		{"latitude and longitude are not taken for each other", "10", "20", "near=20|10", false},
		{"no units are km", "0", "0.5", "near=0|0|56", true},
		{"meters", "0", "0.5", "near=0|0|55598|m", true},
		{"too few meters", "0", "0.5", "near=0|0|55597|m", false},
		{"miles", "0", "0.5", "near=0|0|34.55|mi", true},
		{"too few miles", "0", "0.5", "near=0|0|34.54|mi", false},
		{"miles of UCUM", "0", "0.5", "near=0|0|34.55|[mi_i]", true},
		{"no distance is 25 km", "0", "0.22", "near=0|0", true},
		{"and no more", "0", "0.23", "near=0|0", false},
		{"an empty distance", "0", "0.22", "near=0|0|", true},
		{"an empty distance with units is 25 km, too", "0", "0.22", "near=0|0||mi", true},
		{"empty units", "0", "0.22", "near=0|0|25|", true},
		{"the place itself, without any distance", "48.2082", "16.3738", "near=48.2082|16.3738|0", true},
		{"another place, without any distance", "48.2082", "16.3738", "near=48.2082|16.3739|0", false},
		{"in e-notation", "48.2082", "1.63738e1", "near=4.82082e1|16.3738|1e-3", true},
		{"across the date line", "0", "179.9", "near=0|-179.9|22.3", true},
		{"across the date line, too far", "0", "179.9", "near=0|-179.9|22.2", false},
		{"on the date line, by both its names", "0", "180", "near=0|-180|0", true},
		{"at the north pole any longitude will do", "90", "0", "near=90|123|0", true},
		{"at the south pole, too", "-90", "0", "near=-90|-77|0", true},
		{"over the north pole", "89.9", "0", "near=89.9|180|22.3", true},
		{"over the north pole, too far", "89.9", "0", "near=89.9|180|22.2", false},
		{"the other side of the earth", "-48", "-164", "near=48|16|20016", true},
		{"the other side of the earth, too far", "-48", "-164", "near=48|16|20015", false},
		{"more than all of the earth", "-48", "-164", "near=48|16|1e99", true},
		{"one of two places", "1", "1", "near=50|50,1|1", true},
		{"two places at once", "1", "1", "near=50|50&near=1|1", false},
		{"missing", "1", "1", "near:missing=true", false},
		{"not missing", "1", "1", "near:missing=false", true},
	} {
		if got := matches(t, locationAt(c.latitude, c.longitude), c.query); got != c.want {
			t.Errorf("%s: %s matches %s, %s: %v", c.name, c.query, c.latitude, c.longitude, got)
		}
	}
}

func TestAPositionThatIsNoneGivesNoTerm(t *testing.T) {
	for _, c := range []struct {
		name, position string
		want           []Position
	}{
		{"a position", `{"longitude":-0.5,"altitude":7,"latitude":51.25}`, []Position{{"near", 51.25, -0.5}}},
		{"the edges", `{"longitude":-180,"latitude":90.0}`, []Position{{"near", 90, -180}}},
		{"with an extension", `{"extension":[{"url":"http://x.example","valueDecimal":7}],"longitude":1,"latitude":2,"_latitude":{"id":"a"}}`, []Position{{"near", 2, 1}}},
		{"no longitude", `{"latitude":1}`, nil},
		{"no latitude", `{"longitude":1}`, nil},
		{"a latitude that no place has", `{"longitude":1,"latitude":90.5}`, nil},
		{"a longitude that no place has", `{"longitude":-180.5,"latitude":1}`, nil},
		{"a text", `{"longitude":"1","latitude":1}`, nil},
		{"a number that is too large", `{"longitude":1e999,"latitude":1}`, nil},
		{"no object", `[1,2]`, nil},
		{"a number", `7`, nil},
	} {
		body := `{"resourceType":"Location","id":"l","position":` + c.position + `}`
		_, found := terms(t, body)
		if diff := gocmp.Diff(c.want, found.Positions); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if got := matches(t, body, "near:missing=true"); got != (c.want == nil) {
			t.Errorf("%s: missing is %v", c.name, got)
		}
	}
}

func TestAnErrorAboutAPositionPointsAtItsPage(t *testing.T) {
	_, _, err := R4().Parse("Location", []Pair{{"near", "91|2"}}, Options{})
	if issues := fhir.IssuesOf(err); len(issues) != 1 || issues[0].Spec != specNear || issues[0].Code != fhir.CodeValue {
		t.Errorf("%+v", issues)
	}
}

// The distance is compared with the angle between two vectors, which is another formula.
func TestDistancesAreThoseBetweenVectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		latitude, longitude := rapid.Float64Range(-90, 90), rapid.Float64Range(-180, 180)
		a, b := [2]float64{latitude.Draw(t, "latitude"), longitude.Draw(t, "longitude")}, [2]float64{latitude.Draw(t, "other latitude"), longitude.Draw(t, "other longitude")}
		vector := func(p [2]float64) (v [3]float64) {
			up, round := p[0]*math.Pi/180, p[1]*math.Pi/180
			return [3]float64{math.Cos(up) * math.Cos(round), math.Cos(up) * math.Sin(round), math.Sin(up)}
		}
		v, w := vector(a), vector(b)
		cross := math.Hypot(math.Hypot(v[1]*w[2]-v[2]*w[1], v[2]*w[0]-v[0]*w[2]), v[0]*w[1]-v[1]*w[0])
		want := earthRadius * math.Atan2(cross, v[0]*w[0]+v[1]*w[1]+v[2]*w[2])
		got := distance(a[0], a[1], b[0], b[1])
		if math.Abs(got-want) > 0.001 || got != distance(b[0], b[1], a[0], a[1]) {
			t.Fatalf("from %v to %v: %v km, want %v", a, b, got, want)
		}
	})
}
