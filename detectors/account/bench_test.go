package account

import (
	"testing"
	"time"
)

// BenchmarkJudge is one attachment of a policy to a user who has some.
func BenchmarkJudge(b *testing.B) {
	for _, name := range []string{"AdministratorAccess", "AliyunECSReadOnlyAccess"} {
		b.Run(name, func(b *testing.B) {
			j := New(Config{})
			for _, p := range []string{"AliyunOSSReadOnlyAccess", "AliyunLogFullAccess", "AliyunRDSFullAccess"} {
				j.Judge(made(b, "Ram:AttachPolicyToUser", "alice", 0, params{"PolicyType": "System", "PolicyName": p, "UserName": "bob"}, false, nil))
			}
			ev := made(b, "Ram:AttachPolicyToUser", "alice", time.Minute, params{"PolicyType": "System", "PolicyName": name, "UserName": "bob"}, true, nil)
			b.ReportAllocs()
			for b.Loop() {
				j.Judge(ev)
			}
		})
	}
}
