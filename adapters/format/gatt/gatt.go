// Package gatt reads the values of Bluetooth GATT characteristics of the health
// services: blood pressure, heart rate, glucose, temperature, oximetry, weight, body
// composition and continuous glucose monitoring. It knows bytes, not FHIR.
//
// A Decode function takes the whole value of one characteristic, as a notification or
// an indication carries it. Lengths are checked against the flags: a value that ends
// early or has bytes left over is refused with an *Error that says where. Bits that the
// specification reserves are ignored in flags, as it demands, and kept in statuses.
//
// The layouts are those of the service specifications and of the GATT Specification
// Supplement, https://www.bluetooth.com/specifications/specs/. All functions are pure.
package gatt

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Characteristic is the 16-bit number that the Bluetooth SIG assigned to one.
type Characteristic uint16

// The characteristics that this package reads.
const (
	GlucoseMeasurement         Characteristic = 0x2A18
	TemperatureMeasurement     Characteristic = 0x2A1C
	IntermediateTemperature    Characteristic = 0x2A1E
	SystemID                   Characteristic = 0x2A23
	ModelNumber                Characteristic = 0x2A24
	SerialNumber               Characteristic = 0x2A25
	FirmwareRevision           Characteristic = 0x2A26
	HardwareRevision           Characteristic = 0x2A27
	SoftwareRevision           Characteristic = 0x2A28
	ManufacturerName           Characteristic = 0x2A29
	GlucoseContext             Characteristic = 0x2A34
	BloodPressureMeasurement   Characteristic = 0x2A35
	IntermediateCuffPressure   Characteristic = 0x2A36
	HeartRateMeasurement       Characteristic = 0x2A37
	OximeterSpotCheck          Characteristic = 0x2A5E
	OximeterContinuous         Characteristic = 0x2A5F
	BodyCompositionMeasurement Characteristic = 0x2A9C
	WeightMeasurement          Characteristic = 0x2A9D
	CGMMeasurement             Characteristic = 0x2AA7
	CGMFeature                 Characteristic = 0x2AA8
	CGMSessionStart            Characteristic = 0x2AAA
)

// String is the number in four hexadecimal digits: 2A35.
func (c Characteristic) String() string { return fmt.Sprintf("%04X", uint16(c)) }

// ErrVendor means that a UUID is well formed and not assigned by the Bluetooth SIG:
// a maker's own characteristic.
var ErrVendor = errors.New("the characteristic is a maker's own, not one of the Bluetooth SIG")

// baseUUID is what follows the number in the 128-bit form of an assigned UUID.
const baseUUID = "-0000-1000-8000-00805F9B34FB"

// ParseUUID reads a characteristic's UUID: 2A35, 0x2A35 or
// 00002A35-0000-1000-8000-00805F9B34FB, in either case. A UUID outside the range of the
// Bluetooth SIG is ErrVendor.
func ParseUUID(s string) (Characteristic, error) {
	if len(s) == 6 && (s[:2] == "0x" || s[:2] == "0X") {
		s = s[2:]
	}
	switch len(s) {
	case 4:
		b, err := hex.DecodeString(s)
		if err != nil {
			break
		}
		return Characteristic(binary.BigEndian.Uint16(b)), nil
	case 36:
		b, err := hex.DecodeString(s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36])
		if err != nil || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			break
		}
		if b[0] != 0 || b[1] != 0 || !strings.EqualFold(s[8:], baseUUID) {
			return 0, ErrVendor
		}
		return Characteristic(binary.BigEndian.Uint16(b[2:])), nil
	}
	return 0, errors.New("the characteristic is no UUID; want four hexadecimal digits such as 2A35, or all 128 bits")
}

// MaxValue is the longest value that a characteristic can have, in bytes: the limit of
// the attribute protocol (Bluetooth Core, volume 3, part F, 3.2.9).
const MaxValue = 512

// ParseHex reads bytes in hexadecimal. Between bytes blanks, tabs, colons and dashes are
// allowed, and 0x in front of each group.
func ParseHex(s string) ([]byte, error) {
	if len(s) > 5*MaxValue {
		return nil, fmt.Errorf("the value is longer than %d bytes", MaxValue)
	}
	out := make([]byte, 0, len(s)/2)
	fresh := true // at the start of a group
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == ':' || c == '-':
			fresh = true
			i++
		case fresh && c == '0' && i+1 < len(s) && (s[i+1] == 'x' || s[i+1] == 'X'):
			fresh = false
			i += 2
		case i+1 == len(s):
			return nil, fmt.Errorf("column %d of the hexadecimal text: half a byte at the end", i+1)
		default:
			var b [1]byte
			if _, err := hex.Decode(b[:], []byte(s[i:i+2])); err != nil {
				return nil, fmt.Errorf("column %d of the hexadecimal text: not two hexadecimal digits", i+1)
			}
			out = append(out, b[0])
			fresh = false
			i += 2
		}
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("the value is empty")
	case len(out) > MaxValue:
		return nil, fmt.Errorf("the value is longer than %d bytes", MaxValue)
	}
	return out, nil
}

// Error tells why a value cannot be read. It holds nothing of the value.
type Error struct {
	Characteristic Characteristic
	Offset         int // the byte, counted from 0
	Field          string
	Problem        string
}

// Error is "2A35 byte 7 (time stamp): the month is not 0 to 12".
func (e *Error) Error() string {
	return fmt.Sprintf("%s byte %d (%s): %s", e.Characteristic, e.Offset, e.Field, e.Problem)
}

// reader takes fields off the front of a value, little-endian as all of GATT. After
// the first error it gives zeros, and the error stays.
type reader struct {
	of   Characteristic
	b    []byte
	at   int
	base int // where b begins in the value that the caller knows
	err  error
}

func (r *reader) fail(at int, field, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Characteristic: r.of, Offset: r.base + at, Field: field, Problem: fmt.Sprintf(format, args...)}
	}
}

func (r *reader) take(n int, field string) []byte {
	if r.err != nil {
		return make([]byte, n)
	}
	if have := len(r.b) - r.at; have < n {
		r.fail(r.at, field, "the value ends here, %d of %d bytes are missing", n-have, n)
		return make([]byte, n)
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) uint8(field string) uint8   { return r.take(1, field)[0] }
func (r *reader) uint16(field string) uint16 { return binary.LittleEndian.Uint16(r.take(2, field)) }
func (r *reader) uint24(field string) uint32 {
	b := r.take(3, field)
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
}

// end refuses what the flags do not announce.
func (r *reader) end() error {
	if r.err == nil && r.at < len(r.b) {
		r.fail(r.at, "end", "%d bytes more than the flags announce", len(r.b)-r.at)
	}
	return r.err
}

// optional reads a field only if the flags announce it.
func optional[T any](present bool, read func(field string) T, field string) *T {
	if !present {
		return nil
	}
	v := read(field)
	return &v
}

// crc is the E2E-CRC of the medical services: polynomial D16+D12+D5+1, seed 0xFFFF,
// least significant bit first (CRC-16/MCRF4XX).
func crc(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0x8408
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// checkCRC reads the last two bytes as the E2E-CRC over all before them.
func (r *reader) checkCRC() {
	at := r.at
	want := crc(r.b[:min(at, len(r.b))])
	if got := r.uint16("E2E-CRC"); r.err == nil && got != want {
		r.fail(at, "E2E-CRC", "the checksum does not fit the bytes")
	}
}
