package withings

import "github.com/kiln-health/kiln/fhir"

// Code systems of the numbers that the vendor uses. The codes are the numbers, the
// displays are ours.
const (
	typeSystem     = fhir.Namespace + "CodeSystem/withings-measure-type"
	positionSystem = fhir.Namespace + "CodeSystem/withings-position"
	modelSystem    = fhir.Namespace + "CodeSystem/withings-model"
	afibSystem     = fhir.Namespace + "CodeSystem/withings-afib"
	afibPPGSystem  = fhir.Namespace + "CodeSystem/withings-afib-ppg"
)

// Types of measures that are treated on their own.
const (
	typeHeight    = 4
	typeFatFree   = 5
	typeFatRatio  = 6
	typeFatMass   = 8
	typeDiastolic = 9
	typeSystolic  = 10
	typeAFib      = 130
	typeAFibPPG   = 139
)

// form is the kind of value that a type has.
type form uint8

const (
	quantity       form = iota
	pressure            // a part of a blood pressure
	classification      // a number that stands for a finding
)

// measureType is what the vendor's documentation, and for some types captures of
// payloads, tell of a type of measure.
type measureType struct {
	name     string // display of the vendor code
	loinc    string // looked up in fhir/vocabulary; "" if no published mapping fits
	category string // of observations that are no R4 vital sign
	unit     string // for people
	ucum     string // "" if the vendor does not publish the unit, "1" for a pure number
	form     form
	positive bool // a living person has no such value of zero or below
	segment  bool // says nothing without a position
}

// Categories of http://terminology.hl7.org/CodeSystem/observation-category.
const (
	exam       = "exam"
	procedure  = "procedure"
	laboratory = "laboratory"
	activity   = "activity"
)

// measureTypes are the known types.
var measureTypes = map[int64]measureType{
	1:             {name: "Body weight", loinc: "29463-7", category: exam, unit: "kg", ucum: "kg", positive: true},
	typeHeight:    {name: "Body height", loinc: "8302-2", category: exam, unit: "cm", ucum: "cm", positive: true},
	typeFatFree:   {name: "Fat-free mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	typeFatRatio:  {name: "Body fat ratio", loinc: "41982-0", category: exam, unit: "%", ucum: "%", positive: true},
	typeFatMass:   {name: "Fat mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	typeDiastolic: {name: "Diastolic blood pressure", loinc: "8462-4", unit: "mmHg", ucum: "mm[Hg]", form: pressure, positive: true},
	typeSystolic:  {name: "Systolic blood pressure", loinc: "8480-6", unit: "mmHg", ucum: "mm[Hg]", form: pressure, positive: true},
	11:            {name: "Heart rate", loinc: "8867-4", category: exam, unit: "beats/min", ucum: "/min", positive: true},
	12:            {name: "Temperature, of what is not stated", unit: "°C", ucum: "Cel"},
	54:            {name: "Oxygen saturation by pulse oximetry", loinc: "59408-5", category: exam, unit: "%", ucum: "%", positive: true},
	71:            {name: "Body temperature", loinc: "8310-5", category: exam, unit: "°C", ucum: "Cel", positive: true},
	73:            {name: "Skin temperature", category: exam, unit: "°C", ucum: "Cel"},
	76:            {name: "Muscle mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	77:            {name: "Body water mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	88:            {name: "Bone mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	91:            {name: "Pulse wave velocity", category: procedure, unit: "m/s", ucum: "m/s", positive: true},
	123:           {name: "Maximal oxygen uptake (VO2 max)", category: activity, unit: "mL/min/kg", ucum: "mL/min/kg", positive: true},

	typeAFib:    {name: "Atrial fibrillation result from ECG", category: procedure, form: classification},
	135:         {name: "QRS duration from ECG", category: procedure, positive: true},
	136:         {name: "PR interval from ECG", category: procedure, positive: true},
	137:         {name: "QT interval from ECG", category: procedure, positive: true},
	138:         {name: "Corrected QT interval from ECG", category: procedure, positive: true},
	typeAFibPPG: {name: "Atrial fibrillation result from PPG", category: procedure, form: classification},

	147: {name: "Urine pH", category: laboratory, unit: "pH", ucum: "[pH]"},
	148: {name: "Urine specific gravity", category: laboratory, ucum: "1"},
	151: {name: "Urine nitrites", category: laboratory, unit: "µmol/L", ucum: "umol/L"},
	204: {name: "Urine ketones", category: laboratory, unit: "mmol/L", ucum: "mmol/L"},
	205: {name: "Urine vitamin C", category: laboratory, unit: "mmol/L", ucum: "mmol/L"},
	248: {name: "Urine calcium", category: laboratory, unit: "mmol/L", ucum: "mmol/L"},
	249: {name: "Urine creatinine", category: laboratory, unit: "mmol/L", ucum: "mmol/L"},
	251: {name: "Urine calcium to creatinine ratio", category: laboratory, unit: "mmol/mmol", ucum: "mmol/mmol"},

	155: {name: "Vascular age", category: exam, unit: "years", ucum: "a", positive: true},
	158: {name: "Nerve health score, left foot", category: procedure},
	159: {name: "Nerve health score, right foot", category: procedure},
	167: {name: "Nerve health score, feet", category: procedure},
	168: {name: "Extracellular water mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	169: {name: "Intracellular water mass", category: exam, unit: "kg", ucum: "kg", positive: true},
	170: {name: "Visceral fat index", category: exam, ucum: "1"},
	173: {name: "Fat-free mass of a body segment", category: exam, unit: "kg", ucum: "kg", positive: true, segment: true},
	174: {name: "Fat mass of a body segment", category: exam, unit: "kg", ucum: "kg", positive: true, segment: true},
	175: {name: "Muscle mass of a body segment", category: exam, unit: "kg", ucum: "kg", positive: true, segment: true},
	196: {name: "Electrodermal activity, feet (nerve response score)", category: procedure},
	197: {name: "Electrodermal activity, left foot", category: procedure},
	198: {name: "Electrodermal activity, right foot", category: procedure},
	226: {name: "Basal metabolic rate", category: exam, positive: true},
	227: {name: "Metabolic age", category: exam, unit: "years", ucum: "a", positive: true},
	229: {name: "Electrochemical skin conductance", category: procedure},
}

// afibResults are the published meanings of an ECG classification (type 130). Those
// of type 139 are not published.
var afibResults = []string{
	"Negative", "Positive", "Inconclusive", "No signal", "Other", "Noise", "Low heart rate", "High heart rate",
	"Inconclusive (US)", "Negative, normal heart rate", "Negative, high heart rate",
	"Positive, normal heart rate", "Positive, high heart rate", "No diagnosis",
}

// positions are where on the body a device was, or which part it measured. The
// vendor publishes all but 7, which stands for the whole body in payloads.
var positions = []string{
	"Right wrist", "Left wrist", "Right arm", "Left arm", "Right foot", "Left foot", "Between legs",
	"Whole body", "Left part of body", "Right part of body", "Left leg", "Right leg", "Torso",
	"Left hand", "Right hand", "Cardiac auscultation, aortic area", "Cardiac auscultation, pulmonic area",
	"Cardiac auscultation, tricuspid area", "Cardiac auscultation, mitral area", "Cardiac auscultation, apex",
	"Lung, front upper right", "Lung, front upper left", "Lung, front lower right", "Lung, front lower left",
	"Lung, back upper left", "Lung, back upper right", "Lung, back lower left", "Lung, back lower right",
	"Wide mode area", "Between arms", "Held in right hand", "Held in left hand",
}

// display is the nth of list, or "".
func display(list []string, n int64) string {
	if n < 0 || n >= int64(len(list)) {
		return ""
	}
	return list[n]
}
