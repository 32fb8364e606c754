// Package stats computes the statistics that FHIR names for a set of measurements, exactly:
// everything that is a rational number is one here, and Text says how it is rounded when it is
// written. It knows no units: all values of a Sample are in one.
//
// Where the words of FHIR leave a choice:
//
//   - Variance and standard deviation are those of a sample: divided by n-1. One value has none.
//   - Percentiles, quartiles, quintiles and the median interpolate between the two values that
//     are next to the place (n-1)p, counted from 0 (Hyndman and Fan's type 7, as in R and in
//     PERCENTILE.INC of spreadsheets).
//   - Skewness is the adjusted Fisher-Pearson coefficient, of three values or more. Kurtosis is
//     the excess over that of a normal distribution, adjusted likewise, of four or more. Values
//     that are all equal have neither. (SKEW and KURT of spreadsheets.)
//
// https://terminology.hl7.org/CodeSystem-observation-statistics.html
package stats

import (
	"math/big"
	"slices"
)

// Sample is a set of values. It may be used from many goroutines. What its methods return
// is the caller's own. A false says that the statistic is not defined for so few values.
type Sample struct {
	sorted []*big.Int // the values times the denominator
	den    *big.Int
	power  [5]*big.Int // the sums of the powers of sorted, from the 0th
}

// New is the sample of values, in whatever order. They are not changed.
func New(values []*big.Rat) *Sample {
	s := &Sample{}
	s.sorted, s.den = whole(values)
	slices.SortFunc(s.sorted, (*big.Int).Cmp)
	for i := range s.power {
		s.power[i] = new(big.Int)
	}
	s.power[0].SetInt64(int64(len(values)))
	var p big.Int
	for _, v := range s.sorted {
		p.Set(v)
		for i := 1; i < len(s.power); i++ {
			s.power[i].Add(s.power[i], &p)
			p.Mul(&p, v)
		}
	}
	return s
}

// whole brings values to one denominator.
func whole(values []*big.Rat) ([]*big.Int, *big.Int) {
	den := big.NewInt(1)
	var gcd, q big.Int
	for _, v := range values {
		if q.Rem(den, v.Denom()); q.Sign() != 0 {
			gcd.GCD(nil, nil, den, v.Denom())
			den.Mul(den, q.Quo(v.Denom(), &gcd))
		}
	}
	ints := make([]*big.Int, len(values))
	for i, v := range values {
		ints[i] = new(big.Int).Mul(v.Num(), q.Quo(den, v.Denom()))
	}
	return ints, den
}

// Count is the number of values.
func (s *Sample) Count() int { return len(s.sorted) }

// Sum is the sum of the values, 0 if there are none.
func (s *Sample) Sum() *big.Rat { return new(big.Rat).SetFrac(s.power[1], s.den) }

// Average is the arithmetic mean.
func (s *Sample) Average() (*big.Rat, bool) {
	if len(s.sorted) == 0 {
		return nil, false
	}
	return new(big.Rat).SetFrac(s.power[1], product(s.power[0], s.den)), true
}

// Minimum is the least value.
func (s *Sample) Minimum() (*big.Rat, bool) { return s.Quantile(0, 1) }

// Maximum is the greatest value.
func (s *Sample) Maximum() (*big.Rat, bool) { return s.Quantile(1, 1) }

// Median is the value in the middle.
func (s *Sample) Median() (*big.Rat, bool) { return s.Quantile(1, 2) }

// Quantile is the value below which the part num/den of the values is: 1/5 is the 20th
// percentile and the first quintile. It is false outside of 0 to 1.
func (s *Sample) Quantile(num, den int) (*big.Rat, bool) {
	if len(s.sorted) == 0 || num < 0 || num > den || den < 1 {
		return nil, false
	}
	place := (len(s.sorted) - 1) * num
	i, rest := place/den, place%den
	low := new(big.Rat).SetFrac(s.sorted[i], s.den)
	if rest == 0 {
		return low, true
	}
	step := new(big.Rat).SetFrac(s.sorted[i+1], s.den)
	step.Sub(step, low)
	return low.Add(low, step.Mul(step, big.NewRat(int64(rest), int64(den)))), true
}

// QuartileDeviation is half of the distance between the lower and the upper quartile.
func (s *Sample) QuartileDeviation() (*big.Rat, bool) {
	low, _ := s.Quantile(1, 4)
	high, ok := s.Quantile(3, 4)
	if !ok {
		return nil, false
	}
	high.Sub(high, low)
	return high.Mul(high, big.NewRat(1, 2)), true
}

// Variance is the mean square of the distances from the average, over n-1.
func (s *Sample) Variance() (*big.Rat, bool) {
	n := int64(len(s.sorted))
	if n < 2 {
		return nil, false
	}
	return new(big.Rat).SetFrac(s.second(), product(s.den, s.den, s.power[0], big.NewInt(n-1))), true
}

// StandardDeviation is the root of the Variance. It is exact if it is rational, else it has
// as many digits as Text writes.
func (s *Sample) StandardDeviation() (*big.Rat, bool) {
	v, ok := s.Variance()
	if !ok {
		return nil, false
	}
	return root(v), true
}

// Skew is the skewness. It is exact if it is rational, else it has as many digits as Text writes.
func (s *Sample) Skew() (*big.Rat, bool) {
	n := int64(len(s.sorted))
	second := s.second()
	if n < 3 || second.Sign() == 0 {
		return nil, false
	}
	// Its square is rational.
	third := s.third()
	square := new(big.Rat).SetFrac(
		product(third, third, s.power[0], big.NewInt(n-1)),
		product(second, second, second, big.NewInt(n-2), big.NewInt(n-2)))
	r := root(square)
	if third.Sign() < 0 {
		r.Neg(r)
	}
	return r, true
}

// Kurtosis is the excess kurtosis.
func (s *Sample) Kurtosis() (*big.Rat, bool) {
	n := int64(len(s.sorted))
	second := s.second()
	if n < 4 || second.Sign() == 0 {
		return nil, false
	}
	r := new(big.Rat).SetFrac(s.fourth(), product(second, second))
	r.Sub(r, big.NewRat(3, 1))
	r.Mul(r, big.NewRat(n+1, 1))
	r.Add(r, big.NewRat(6, 1))
	r.Mul(r, big.NewRat(n-1, n-2))
	return r.Mul(r, big.NewRat(1, n-3)), true
}

// second is the sum of the squares of the distances from the average, times n, in units of
// the denominator; third and fourth are those of the higher powers, times the square and the
// cube of n.
func (s *Sample) second() *big.Int {
	n, p := s.power[0], s.power
	return sum(product(n, p[2]), product(big.NewInt(-1), p[1], p[1]))
}

func (s *Sample) third() *big.Int {
	n, p := s.power[0], s.power
	return sum(product(n, n, p[3]), product(big.NewInt(-3), n, p[1], p[2]), product(big.NewInt(2), p[1], p[1], p[1]))
}

func (s *Sample) fourth() *big.Int {
	n, p := s.power[0], s.power
	return sum(product(n, n, n, p[4]), product(big.NewInt(-4), n, n, p[1], p[3]),
		product(big.NewInt(6), n, p[1], p[1], p[2]), product(big.NewInt(-3), p[1], p[1], p[1], p[1]))
}

// Point is a value and where it was measured, as on an axis of time.
type Point struct{ X, Y *big.Rat }

// Regression is the line that has the least sum of squares of vertical distances from the
// points: y = gradient·x + intercept. It is false unless two points have different X. The
// points are not changed.
func Regression(points []Point) (gradient, intercept *big.Rat, ok bool) {
	xs, ys := make([]*big.Rat, len(points)), make([]*big.Rat, len(points))
	for i, p := range points {
		xs[i], ys[i] = p.X, p.Y
	}
	x, xDen := whole(xs)
	y, yDen := whole(ys)
	var sumX, sumY, sumXX, sumXY, p big.Int
	for i := range x {
		sumX.Add(&sumX, x[i])
		sumY.Add(&sumY, y[i])
		sumXX.Add(&sumXX, p.Mul(x[i], x[i]))
		sumXY.Add(&sumXY, p.Mul(x[i], y[i]))
	}
	n, minus := big.NewInt(int64(len(points))), big.NewInt(-1)
	width := sum(product(n, &sumXX), product(minus, &sumX, &sumX))
	if width.Sign() == 0 {
		return nil, nil, false
	}
	rise := sum(product(n, &sumXY), product(minus, &sumX, &sumY))
	gradient = new(big.Rat).SetFrac(product(rise, xDen), product(width, yDen))
	intercept = new(big.Rat).SetFrac(sum(product(&sumY, width), product(minus, rise, &sumX)), product(n, width, yDen))
	return gradient, intercept, true
}

func product(factors ...*big.Int) *big.Int {
	p := big.NewInt(1)
	for _, f := range factors {
		p.Mul(p, f)
	}
	return p
}

func sum(terms ...*big.Int) *big.Int {
	s := new(big.Int)
	for _, t := range terms {
		s.Add(s, t)
	}
	return s
}
