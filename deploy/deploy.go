// Package deploy holds the files for setting up that the program itself hands
// out, so that there is one copy of each.
package deploy

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed ram/*.json
var files embed.FS

// policy is a RAM policy of the folder ram, such as "reader.json".
func policy(name string) (string, error) {
	b, err := files.ReadFile("ram/" + name)
	if err != nil {
		return "", fmt.Errorf("there is no policy %s", name)
	}
	return string(b), nil
}

// Words are what stands in capitals in the policies, and is to be replaced.
type Words struct {
	Account, Project, Logstore string
	// Protected are RAM users, or globs of their names, that the responder is
	// denied to touch. At least one.
	Protected []string
}

// placeholders for protected users, as the policies write them.
const protectedUsers = `"acs:ram:*:ACCOUNT_ID:user/BREAK_GLASS_USER", "acs:ram:*:ACCOUNT_ID:user/PIPELINE_USER"`

// Filled is a RAM policy of the folder ram, such as "reader.json", with its words filled in.
func Filled(name string, w Words) (string, error) {
	s, err := policy(name)
	if err != nil {
		return "", err
	}
	if strings.Contains(s, protectedUsers) {
		if len(w.Protected) == 0 {
			return "", fmt.Errorf("policy %s needs protected users", name)
		}
		list := make([]string, len(w.Protected))
		for i, u := range w.Protected {
			list[i] = `"acs:ram:*:ACCOUNT_ID:user/` + u + `"`
		}
		s = strings.ReplaceAll(s, protectedUsers, strings.Join(list, ", "))
	}
	s = strings.NewReplacer("ACCOUNT_ID", w.Account, "/PROJECT/", "/"+w.Project+"/", "/LOGSTORE", "/"+w.Logstore).Replace(s)
	for _, word := range []string{"ACCOUNT_ID", "BREAK_GLASS_USER", "PIPELINE_USER"} {
		if strings.Contains(s, word) {
			return "", fmt.Errorf("policy %s: %s was not filled in", name, word)
		}
	}
	return s, nil
}
