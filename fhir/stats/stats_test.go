package stats

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func rats(t testing.TB, texts ...string) []*big.Rat {
	t.Helper()
	values := make([]*big.Rat, len(texts))
	for i, text := range texts {
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		values[i] = r
	}
	return values
}

// statistics are all of a sample, by name; "" is undefined.
func statistics(s *Sample) map[string]string {
	all := map[string]string{"sum": Text(s.Sum())}
	add := func(name string, r *big.Rat, ok bool) {
		if all[name] = ""; ok {
			all[name] = Text(r)
		}
	}
	quantile := func(name string, num, den int) {
		r, ok := s.Quantile(num, den)
		add(name, r, ok)
	}
	for name, f := range map[string]func() (*big.Rat, bool){
		"average": s.Average, "minimum": s.Minimum, "maximum": s.Maximum, "median": s.Median, "variance": s.Variance,
		"std-dev": s.StandardDeviation, "4-dev": s.QuartileDeviation, "skew": s.Skew, "kurtosis": s.Kurtosis,
	} {
		r, ok := f()
		add(name, r, ok)
	}
	quantile("20", 1, 5)
	quantile("80", 4, 5)
	quantile("q1", 1, 4)
	quantile("q3", 3, 4)
	return all
}

// The figures are those of R: mean, sd, var, quantile type 7; skewness and kurtosis of e1071, type 2.
func TestKnownValues(t *testing.T) {
	for _, c := range []struct {
		name   string
		values string
		want   map[string]string
	}{
		{"nothing", "", map[string]string{"sum": "0", "average": "", "minimum": "", "median": "", "variance": "", "std-dev": "", "4-dev": "", "skew": "", "kurtosis": "", "20": ""}},
		{"one value has no spread", "72.50", map[string]string{"sum": "72.5", "average": "72.5", "minimum": "72.5", "maximum": "72.5", "median": "72.5", "20": "72.5", "4-dev": "0", "variance": "", "std-dev": "", "skew": "", "kurtosis": ""}},
		{"two values have no skew", "1 2", map[string]string{"average": "1.5", "median": "1.5", "variance": "0.5", "std-dev": "0.7071067811865475", "skew": "", "kurtosis": ""}},
		{"three have no kurtosis", "1 2 4", map[string]string{"average": "2.333333333333333", "median": "2", "variance": "2.333333333333333", "skew": "0.9352195295828245", "kurtosis": ""}},
		{"equal values have neither", "5 5 5 5", map[string]string{"average": "5", "variance": "0", "std-dev": "0", "skew": "", "kurtosis": ""}},
		{"two, four, four, four, five, five, seven, nine", "2 4 4 4 5 5 7 9", map[string]string{"sum": "40", "average": "5", "median": "4.5", "variance": "4.571428571428571", "std-dev": "2.138089935299395", "20": "4", "80": "6.2", "q1": "4", "q3": "5.5", "4-dev": "0.75", "skew": "0.8184875533567997", "kurtosis": "0.940625"}},
		{"order does not matter, nor the sign", "3 -1 2.5 -10", map[string]string{"sum": "-5.5", "minimum": "-10", "maximum": "3", "median": "0.75", "average": "-1.375"}},
		{"tenths add up", strings.Repeat("0.1 ", 10), map[string]string{"sum": "1", "average": "0.1", "std-dev": "0"}},
		{"a root that is rational is exact", "1 3 5 7 9 11 13 1 3 5 7 9 11 13 7", map[string]string{"variance": "16", "std-dev": "4"}},
		{"large and small together lose nothing", "1e20 1e-13", map[string]string{"sum": "100000000000000000000.0000000000001"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := statistics(New(rats(t, strings.Fields(c.values)...)))
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s is %q, want %q", name, got[name], want)
				}
			}
		})
	}
}

func TestQuantilesOutsideAreNone(t *testing.T) {
	s := New(rats(t, "1", "2"))
	for _, c := range [][2]int{{-1, 2}, {3, 2}, {0, 0}} {
		if r, ok := s.Quantile(c[0], c[1]); ok {
			t.Errorf("%v is %v", c, r)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range [][2]string{
		{"0", "0"}, {"-0", "0"}, {"100", "100"}, {"72.50", "72.5"}, {"-0.001", "-0.001"}, {"1/3", "0.3333333333333333"}, {"-2/3", "-0.6666666666666667"},
		{"200/3", "66.66666666666667"}, {"2000000000000000000/3", "666666666666666700"}, {"1e-8", "0.00000001"}, {"1e-10", "1e-10"}, {"-1.5e-12", "-1.5e-12"}, {"1e33", "1" + strings.Repeat("0", 33)}, {"1e40", "1e40"},
		{"1234567890123456789012345678901234", "1234567890123456789012345678901234"}, {"12345678901234567890123456789012345", "1.234567890123457e34"},
		{"99999999999999999/100000000000000001", "1"}, {"1/1024", "0.0009765625"},
	} {
		if got := Text(rats(t, c[0])[0]); got != c[1] {
			t.Errorf("%s is written %s, want %s", c[0], got, c[1])
		}
	}
}

func TestRegression(t *testing.T) {
	points := func(texts ...string) []Point {
		var all []Point
		for i := 0; i < len(texts); i += 2 {
			all = append(all, Point{rats(t, texts[i])[0], rats(t, texts[i+1])[0]})
		}
		return all
	}
	for _, c := range []struct {
		name                string
		points              []Point
		gradient, intercept string
	}{
		{"no point", nil, "", ""},
		{"one point", points("1", "2"), "", ""},
		{"two points above each other", points("1", "2", "1", "3"), "", ""},
		{"two points are on the line", points("1", "2", "3", "6"), "2", "0"},
		{"a line that falls", points("0", "36.6", "0.5", "36.1"), "-1", "36.6"},
		{"four points", points("1", "6", "2", "5", "3", "7", "4", "10"), "1.4", "3.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, i, ok := Regression(c.points)
			if ok != (c.gradient != "") || ok && (Text(g) != c.gradient || Text(i) != c.intercept) {
				t.Errorf("%v %v %v", g, i, ok)
			}
		})
	}
}

// The model computes with floating point, from the definitions.
func TestAgreesWithANaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hundredths := rapid.SliceOfN(rapid.IntRange(-100_000, 100_000), 4, 60).Draw(t, "hundredths")
		values, xs := make([]*big.Rat, len(hundredths)), make([]float64, len(hundredths))
		for i, h := range hundredths {
			values[i], xs[i] = big.NewRat(int64(h), 100), float64(h)/100
		}
		s := New(values)
		near := func(name string, r *big.Rat, ok bool, want float64) {
			got := math.NaN()
			if ok {
				got, _ = r.Float64()
			}
			if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
				t.Errorf("%s of %v is %v, want %v", name, xs, got, want)
			}
		}
		n, mean := float64(len(xs)), 0.0
		for _, x := range xs {
			mean += x / n
		}
		var m2, m3, m4 float64
		for _, x := range xs {
			d := x - mean
			m2, m3, m4 = m2+d*d/n, m3+d*d*d/n, m4+d*d*d*d/n
		}
		if m2 < 1e-6 {
			m2, m3, m4 = 0, math.NaN(), math.NaN() // all equal
		}
		check := func(name string, f func() (*big.Rat, bool), want float64) {
			r, ok := f()
			near(name, r, ok, want)
		}
		check("average", s.Average, mean)
		check("variance", s.Variance, m2*n/(n-1))
		check("std-dev", s.StandardDeviation, math.Sqrt(m2*n/(n-1)))
		check("skew", s.Skew, m3/math.Pow(m2, 1.5)*math.Sqrt(n*(n-1))/(n-2))
		check("kurtosis", s.Kurtosis, (n-1)/((n-2)*(n-3))*((n+1)*(m4/(m2*m2)-3)+6))
		slices.Sort(xs)
		for den := 1; den <= 5; den++ {
			for num := 0; num <= den; num++ {
				place := (n - 1) * float64(num) / float64(den)
				low := int(place + 1e-9)
				want := xs[low]
				if low+1 < len(xs) {
					want += (place - float64(low)) * (xs[low+1] - xs[low])
				}
				r, ok := s.Quantile(num, den)
				near("quantile", r, ok, want)
			}
		}
	})
}

// No line has less distance than that of the regression, and its text is a decimal.
func TestRegressionIsTheBestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.IntRange(-50, 50)
		var points []Point
		for range rapid.IntRange(2, 20).Draw(t, "n") {
			points = append(points, Point{big.NewRat(int64(small.Draw(t, "x")), 3), big.NewRat(int64(small.Draw(t, "y")), 10)})
		}
		g, i, ok := Regression(points)
		if !ok {
			t.Skip("all points have one x")
		}
		distance := func(g, i *big.Rat) *big.Rat {
			total := new(big.Rat)
			for _, p := range points {
				d := new(big.Rat).Mul(g, p.X)
				d.Sub(p.Y, d.Add(d, i))
				total.Add(total, d.Mul(d, d))
			}
			return total
		}
		best, step := distance(g, i), big.NewRat(1, 1000)
		for _, sign := range []int64{-1, 1} {
			d := new(big.Rat).Mul(step, big.NewRat(sign, 1))
			if distance(new(big.Rat).Add(g, d), i).Cmp(best) < 0 || distance(g, new(big.Rat).Add(i, d)).Cmp(best) < 0 {
				t.Errorf("y = %v x + %v is not the best line of %v", g, i, points)
			}
		}
	})
}

// What is written reads back as the number, in the digits that are written.
func TestTextIsTheNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := big.NewRat(rapid.Int64().Draw(t, "num"), rapid.Int64Range(1, math.MaxInt64).Draw(t, "den"))
		back, ok := new(big.Rat).SetString(Text(r))
		if !ok {
			t.Fatalf("%q is no number", Text(r))
		}
		off := new(big.Rat).Sub(back, r)
		off.Abs(off)
		if limit := new(big.Rat).Mul(new(big.Rat).Abs(r), big.NewRat(1, 1e15)); off.Cmp(limit) > 0 {
			t.Errorf("%v is written %s", r, Text(r))
		}
	})
}

func BenchmarkHundredThousandValues(b *testing.B) {
	values := make([]*big.Rat, 100_000)
	for i := range values {
		values[i] = big.NewRat(int64(6000+i*7919%4000), 100)
	}
	for b.Loop() {
		s := New(values)
		s.Skew()
		s.Kurtosis()
	}
}
