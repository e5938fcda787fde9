package sls
import ("os";"testing")
func init(){ dumpLogs = func(t testing.TB, s string){ os.WriteFile("/tmp/tw/stuck.log", []byte(s), 0o644) } }
