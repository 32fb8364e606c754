package dexcomclarity

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/kiln-health/kiln/fhir"
)

// column is what a column means.
type column int

const (
	cIndex column = iota
	cTime
	cEvent
	cSubtype
	cPatientInfo
	cDeviceInfo
	cSource
	cGlucose
	cInsulin
	cCarbs
	cDuration
	cRate
	cCounter
	cTransmitter
	columns // how many there are
)

// named are the names of the columns in the languages of Clarity, in the form that
// plain gives them and without the unit or format in parentheses. The names in
// English, and those of time, event and values in German, Spanish and Italian, are
// known from exports. The others are translations; what an export calls otherwise
// is refused with the column named, so that a wrong guess here cannot map anything.
var named = map[column][]string{
	cIndex:       {"index", "índice", "indice", "indeks"},
	cTime:        {"timestamp", "zeitstempel", "horodatage", "horodateur", "marca temporal", "marca de tiempo", "fecha y hora", "data e ora", "marca temporale", "tijdstempel", "tidsstämpel", "tidstämpel", "tidsstempel", "data e hora", "carimbo de data/hora"},
	cEvent:       {"event type", "ereignistyp", "ereignisart", "type d'événement", "type d'évènement", "tipo de evento", "tipo di evento", "tipo evento", "gebeurtenistype", "type gebeurtenis", "händelsetyp", "hændelsestype", "hendelsestype"},
	cSubtype:     {"event subtype", "ereignisuntertyp", "ereignissubtyp", "untertyp des ereignisses", "sous type d'événement", "sous type d'évènement", "subtipo de evento", "sottotipo di evento", "sottotipo evento", "gebeurtenissubtype", "subtype gebeurtenis", "händelseundertyp", "undertyp av händelse", "hændelsesundertype", "hendelsesundertype"},
	cPatientInfo: {"patient info", "patienteninfo", "patienteninformation", "patienteninformationen", "informations patient", "informations sur le patient", "infos patient", "infos sur le patient", "información del paciente", "información de paciente", "informazioni paziente", "informazioni sul paziente", "info paziente", "patiëntinfo", "patiëntinformatie", "patiëntgegevens", "patientinfo", "patientinformation", "patientoplysninger", "pasientinformasjon", "informações do paciente"},
	cDeviceInfo:  {"device info", "geräteinfo", "geräteinformation", "geräteinformationen", "informations sur l'appareil", "informations appareil", "infos sur l'appareil", "infos appareil", "informations sur le dispositif", "infos dispositif", "información del dispositivo", "información de dispositivo", "informazioni dispositivo", "informazioni sul dispositivo", "info dispositivo", "apparaatinfo", "apparaatinformatie", "enhetsinfo", "enhetsinformation", "enhedsinfo", "enhedsoplysninger", "enhetsinformasjon", "informações do dispositivo"},
	cSource:      {"source device id", "quellgerät id", "quellgeräte id", "id des quellgeräts", "id de l'appareil source", "id appareil source", "id du dispositif source", "identifiant de l'appareil source", "id del dispositivo de origen", "id de dispositivo de origen", "id del dispositivo fuente", "id dispositivo di origine", "id dispositivo origine", "id del dispositivo di origine", "bronapparaat id", "id bronapparaat", "id van bronapparaat", "källenhets id", "id för källenhet", "kildeenheds id", "id for kildeenhed", "id do dispositivo de origem"},
	cGlucose:     {"glucose value", "glukosewert", "valeur de glucose", "valeur du glucose", "valeur glycémique", "taux de glucose", "nivel de glucosa", "valor de glucosa", "valor de la glucosa", "valore del glucosio", "valore glucosio", "glucosewaarde", "glukosvärde", "glukoseværdi", "glukoseverdi", "valor de glicose"},
	cInsulin:     {"insulin value", "insulinwert", "valeur d'insuline", "valeur de l'insuline", "quantité d'insuline", "nivel de insulina", "valor de insulina", "valore dell'insulina", "valore insulina", "insulinewaarde", "insulinvärde", "insulinværdi", "insulinverdi"},
	cCarbs:       {"carb value", "kohlenhydratwert", "valeur de glucides", "valeur des glucides", "quantité de glucides", "nivel de carbohidratos", "valor de carbohidratos", "valore dei carboidrati", "valore carboidrati", "koolhydraatwaarde", "koolhydratenwaarde", "kolhydratvärde", "kulhydratværdi", "karbohydratverdi", "valor de carboidratos"},
	cDuration:    {"duration", "dauer", "durée", "duración", "durata", "duur", "varaktighet", "varighed", "varighet", "duração"},
	cRate:        {"glucose rate of change", "änderungsrate des glukosewerts", "glukoseänderungsrate", "glukose änderungsrate", "taux de variation du glucose", "taux de variation de la glycémie", "vitesse de variation du glucose", "índice de cambio de la glucosa", "índice de cambio de glucosa", "tasa de cambio de la glucosa", "tasa de cambio de glucosa", "velocidad de cambio de la glucosa", "tasso di variazione del glucosio", "velocità di variazione del glucosio", "veranderingssnelheid van glucose", "veranderingssnelheid glucose", "glukosförändringshastighet", "glukosens förändringshastighet", "glukoseændringshastighed", "taxa de variação da glicose"},
	cCounter:     {"transmitter time", "transmitterzeit", "transmitter zeit", "heure de l'émetteur", "heure du transmetteur", "temps de l'émetteur", "temps du transmetteur", "hora del transmisor", "tiempo del transmisor", "ora trasmettitore", "ora del trasmettitore", "tempo trasmettitore", "tempo del trasmettitore", "zendertijd", "sändartid", "sendertid", "hora do transmissor"},
	cTransmitter: {"transmitter id", "id de l'émetteur", "id émetteur", "id du transmetteur", "id transmetteur", "identifiant de l'émetteur", "identifiant du transmetteur", "id del transmisor", "id de transmisor", "id trasmettitore", "id del trasmettitore", "zender id", "id zender", "sändar id", "sändarens id", "sender id", "senderens id", "id do transmissor"},
}

// Concentrations and rates by what stands in parentheses behind the name, in lower case.
var (
	concentrations = map[string]string{"mg/dl": "mg/dL", "mmol/l": "mmol/L"}
	rates          = map[string]string{"mg/dl/min": "mg/dL/min", "mmol/l/min": "mmol/L/min"}
	grams          = []string{"g", "gram", "grams", "gramm", "grammes", "gramos", "grammi", "gramas"}
)

// table is how the columns of one export are laid out.
type table struct {
	width   int          // cells of a row
	at      [columns]int // place of each column in a row, -1 if it is not there
	glucose string       // unit of the glucose values as UCUM writes it
	rate    string       // unit of the rates of change, or ""
}

// cell is the content of a column, without blanks around it; "" if there is no such column.
func (t *table) cell(cells []string, c column) string {
	if t.at[c] < 0 {
		return ""
	}
	return strings.TrimSpace(cells[t.at[c]])
}

// filled reports whether a row says anything beside its number.
func (t *table) filled(cells []string) bool {
	for n, text := range cells {
		if n != t.at[cIndex] && strings.TrimSpace(text) != "" {
			return true
		}
	}
	return false
}

// fixHeader tells a user what to do about a column that is not known.
const fixHeader = "report the column and the language of the account to the project; until then export with the account set to English"

// readHeader finds the columns. All that is wrong is reported at once. A line of which
// less than three columns are known is taken for something else, and not quoted.
func readHeader(header []string) (*table, *fhir.Error) {
	t := &table{width: len(header)}
	for c := range t.at {
		t.at[c] = -1
	}
	var issues []fhir.Issue
	report := func(n int, fix, format string, args ...any) {
		issues = append(issues, fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeStructure, Path: fmt.Sprintf("header, column %d", n+1), Message: fmt.Sprintf(format, args...), Fix: fix})
	}
	known := 0
	for n, text := range header {
		name, unit := split(text)
		c, ok := columnOf(name)
		if !ok {
			report(n, fixHeader, "the column %s is not known", quote(text))
			continue
		}
		known++
		if t.at[c] >= 0 {
			report(n, "remove the column that is there twice", "the column %s means the same as column %d", quote(text), t.at[c]+1)
			continue
		}
		t.at[c] = n
		switch c {
		case cGlucose:
			if t.glucose, ok = concentrations[unit]; !ok {
				report(n, "export again; the unit stands behind the name", "the column %s tells no unit that is known: want mg/dL or mmol/L", quote(text))
			}
		case cRate:
			if t.rate, ok = rates[unit]; !ok {
				report(n, "export again; the unit stands behind the name", "the column %s tells no unit that is known: want mg/dL/min or mmol/L/min", quote(text))
			}
		case cCarbs:
			if !slices.Contains(grams, unit) {
				report(n, fixHeader, "the column %s tells no unit that is known: want grams", quote(text))
			}
		}
	}
	if known < 3 {
		return nil, fhir.Errorf(fhir.CodeStructure, "header", "the first line is not the header of a Clarity export").WithFix("send the table as Clarity exported it, with its first line")
	}
	for _, c := range []struct {
		column column
		name   string
	}{{cTime, "Timestamp"}, {cEvent, "Event Type"}, {cGlucose, "Glucose Value"}} {
		if t.at[c.column] < 0 {
			issues = append(issues, fhir.Issue{Severity: fhir.SevError, Code: fhir.CodeStructure, Path: "header", Message: "the column " + c.name + " is missing", Fix: fixHeader})
		}
	}
	if len(issues) > 0 {
		return nil, &fhir.Error{Issues: issues}
	}
	return t, nil
}

// columnOf finds the meaning of a plain name.
func columnOf(name string) (column, bool) {
	for c, names := range named {
		if slices.Contains(names, name) {
			return c, true
		}
	}
	return 0, false
}

// split parts the name of a column from what stands in parentheses at its end.
func split(text string) (name, unit string) {
	text = strings.TrimSpace(text)
	if n := strings.LastIndexByte(text, '('); n >= 0 && strings.HasSuffix(text, ")") {
		return plain(text[:n]), plain(text[n+1 : len(text)-1])
	}
	return plain(text), ""
}

// plain is text in lower case with typographic apostrophes, hyphens and blanks made
// simple, so that one spelling of a word is enough.
func plain(text string) string {
	text = strings.Map(func(c rune) rune {
		switch c {
		case '’', '‘', 'ʼ', '´', '`':
			return '\''
		case '-', '‐', '‑', '–', '_', '.':
			return ' '
		}
		if unicode.IsSpace(c) {
			return ' '
		}
		return unicode.ToLower(c)
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// quote is the text of a column name for a message, cut to a length that a name has.
func quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}
