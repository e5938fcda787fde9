package event

import (
	"strings"
	"time"
)

// finish derives what the record says in other words.
func (w *walk) finish(start int) error {
	ev := w.ev
	if isInner(ev.Type, w.inner) {
		return &ParseError{ReasonNotEvent, start, "a platform-side operation log, not an audit record"}
	}
	if ev.Name == "" {
		if ev.subs.insight.to == 0 && !strings.EqualFold(ev.Category, "Insight") && !strings.EqualFold(ev.Type, "ActionTrailInsight") {
			return &ParseError{ReasonNotEvent, start, "no eventName, and not an Insight"}
		}
		ev.Category = "Insight"
	}
	ev.Category = category(ev.Category)
	if w.time != "" && !isNull(w.time) {
		t, ok := parseTime(w.time)
		if !ok {
			return &ParseError{ReasonBadTime, start, "eventTime is not a time"}
		}
		ev.Time = t
	}
	if isNull(w.recipient) {
		w.recipient = ""
	}
	if isNull(ev.Actor.Account) {
		ev.Actor.Account = ""
	}

	name, nameFold := w.lookName(ev.Name)
	service, serviceFold := w.lookService(ev.Service)
	ev.NameFold, ev.ServiceFold = nameFold, serviceFold
	switch {
	case w.rw == "Read", strings.EqualFold(w.rw, "Read"):
		ev.RW = Read
	case w.rw == "Write", strings.EqualFold(w.rw, "Write"):
		ev.RW = Write
	}
	ev.Global = ParseTruth(w.global) == Yes
	ev.Sensitive = ParseTruth(w.sensitive) == Yes
	ev.ErrorCode, ev.ErrorMessage = cleanError(w.errCode), cleanError(w.errMessage)
	if ev.ErrorCode != "" || ev.ErrorMessage != "" {
		ev.Outcome = Attempt
	}

	if p := ev.subs.params; (p.to == 0 || ev.raw[p.from] != '{') && (p.to != 0 || ev.subs.paramJSON.to != 0) {
		// The object was not walked: the parameters are text.
		w.playerUID, w.clientIP, w.ssoMFA = w.param("stsTokenPlayerUid"), w.param("UserClientIp"), w.param("MFAAuthenticated")
	}
	w.resolveAddress()
	entry := name.entry(service, ev.Service, ev.Source)
	if entry != nil {
		ev.Action = entry.action
	}
	w.resolveActor()
	if ev.Recipient = w.recipient; ev.Recipient == "" {
		ev.Recipient = ev.Actor.Account
	}
	w.resolveMFA()
	w.resolveKind()
	if entry != nil {
		w.resolveTarget(entry)
	}
	return nil
}

// category gives the categories that are known their usual spelling.
func category(s string) string {
	if s == "Management" {
		return s // nearly always
	}
	for _, known := range []string{"Management", "Insight", "Data"} {
		if strings.EqualFold(s, known) {
			return known
		}
	}
	return s
}

// isInner recognises the platform-side operation logs of Alibaba's own staff.
func isInner(eventType string, marks uint8) bool {
	return marks&markEmployee != 0 || marks&markProduct != 0 && marks&markIdentity == 0 ||
		hasPrefixFold(eventType, "CUSTOMER_INITIATED_") || hasPrefixFold(eventType, "ALIYUN_INITIATED_")
}

// cleanError returns "" for the many ways of saying that there was no error,
// and the text without surrounding spaces and quotes otherwise.
func cleanError(s string) string {
	if s == "" {
		return ""
	}
	s = strings.Trim(s, " \t\r\n\"'")
	switch len(s) {
	case 2:
		if strings.EqualFold(s, "ok") {
			return ""
		}
	case 3:
		if s == "200" {
			return ""
		}
	case 4:
		if isNull(s) {
			return ""
		}
	case 7:
		if strings.EqualFold(s, "success") {
			return ""
		}
	}
	return s
}

// parseTime reads eventTime: "2021-08-05T06:59:52Z", and the forms with a
// fraction of a second and a numeric offset that some products write.
func parseTime(s string) (time.Time, bool) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	century, year, month, day := twoDigits(s, 0), twoDigits(s, 2), twoDigits(s, 5), twoDigits(s, 8)
	hour, minute, second := twoDigits(s, 11), twoDigits(s, 14), twoDigits(s, 17)
	if century|year|month|day|hour|minute|second < 0 {
		return time.Time{}, false
	}
	year += 100 * century
	if year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(month, year) || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	i, nanos := 19, 0
	if s[i] == '.' || s[i] == ',' {
		unit := 100_000_000
		digits := i + 1
		for i++; i < len(s) && s[i]-'0' < 10; i++ {
			nanos += int(s[i]-'0') * unit
			unit /= 10
		}
		if i == digits {
			return time.Time{}, false
		}
	}
	offset := 0
	switch zone := s[i:]; {
	case zone == "Z" || zone == "z":
	case len(zone) == 5 || len(zone) == 6 && zone[3] == ':':
		h, m := twoDigits(s, i+1), twoDigits(s, len(s)-2)
		if zone[0] != '+' && zone[0] != '-' || h < 0 || h > 23 || m < 0 || m > 59 {
			return time.Time{}, false
		}
		if offset = h*3600 + m*60; zone[0] == '-' {
			offset = -offset
		}
	default:
		return time.Time{}, false
	}
	secs := int64(daysSinceEpoch(year, month, day))*86400 + int64(hour*3600+minute*60+second-offset)
	// A leap second or an offset may lead out of the years that can be written.
	if secs < firstSecond || secs > lastSecond {
		return time.Time{}, false
	}
	return time.Unix(secs, int64(nanos)).UTC(), true
}

// twoDigits reads the number at s[i:i+2], -1 when it is none.
func twoDigits(s string, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return 10*int(a) + int(b)
}

// The first and the last second, since 1970, of the years that a time of RFC
// 3339, and so JSON, can have; but for the year 0, which is none.
const (
	firstSecond = -62135596800 // 0001-01-01T00:00:00Z
	lastSecond  = 253402300799 // 9999-12-31T23:59:59Z
)

func daysIn(month, year int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSinceEpoch counts days of the Gregorian calendar from 1970-01-01, with
// the year taken to begin in March so that the leap day is the last.
func daysSinceEpoch(y, m, d int) int {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}
