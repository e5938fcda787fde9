package ramtest

import (
	"crypto/hmac"
	"crypto/sha1" // the wire form fixes the algorithm
	"encoding/base64"
	"net/url"
	"sort"
	"strings"
)

// encode is the percent-encoding of the signature: RFC 3986, with only
// letters, digits and -_.~ left plain.
func encode(s string) string {
	s = url.QueryEscape(s)
	s = strings.ReplaceAll(s, "+", "%20")
	s = strings.ReplaceAll(s, "*", "%2A")
	return strings.ReplaceAll(s, "%7E", "~")
}

func stringToSign(method string, params map[string]string) string {
	keys := make([]string, 0, len(params))
	for k := range params {
		if k != "Signature" {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(encode(k) + "=" + encode(params[k]))
	}
	return method + "&%2F&" + encode(b.String())
}

func sign(secret, text string) string {
	h := hmac.New(sha1.New, []byte(secret+"&"))
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
