package message

import (
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// Sample is a notice with every part in use, for `notify test` and golden
// files. At is when its events happened.
func Sample(at time.Time) responders.Notice {
	at = at.UTC()
	return responders.Notice{
		Account: "prod",
		Alert: alert.Alert{
			Schema: alert.Schema, ID: "5d41402abc4b2a76b9719d911017c592", Rule: "ak.new_source_ip", RuleVersion: 7,
			Title:    "AccessKey used from a new country",
			Reason:   `LTAI…Xy9 made its first calls ever from the Netherlands: 3 read calls, then CreateAccessKey for user "backup2". In 41 days this key used only 2 networks in China.`,
			TitleZH:  "AccessKey 在新的国家使用",
			ReasonZH: `LTAI…Xy9 首次从荷兰发起调用：3 次读调用，随后为用户“backup2”执行 CreateAccessKey。此前 41 天内该密钥仅使用过中国的 2 个网络。`,
			Severity: alert.High, Outcome: "success", Time: at, FirstAt: at.Add(-6 * time.Minute), LastAt: at, Count: 4,
			AccountID: "1000000000000001",
			Actor:     alert.Actor{Type: "ram-user", ID: "user/1000000000000001/ci-deployer", Name: "ci-deployer", AccessKeyID: "LTAI5tEXAMPLEdeploy0Xy9"},
			SourceIP:  "203.0.113.7", Target: &alert.Target{Type: "user", ID: "user/1000000000000001/backup2", Name: "backup2"},
			Attack: []string{"T1098.001"}, EventIDs: []string{"e1", "e2", "e3", "e4"},
			Details: map[string]any{"event": "ram:CreateAccessKey", "region": "cn-hangzhou", "country": "NL", "asn": 64500, "key_age_days": 212},
			Runbook: alert.Runbook{EN: "Ask the owner.\nThen disable the key.", ZH: "先联系负责人。\n再禁用密钥。"}, Revision: 1,
		},
		Actions: []responders.ActionView{{
			ID: "act-1", Kind: "ram.disable_access_key", Describe: "UpdateAccessKey UserName=ci-deployer UserAccessKeyId=LTAI…Xy9 Status=Inactive",
			State: responders.Proposed, At: at,
		}},
	}
}

const testID = "test"

// Test is what `notify test` sends: no incident of anybody's.
func Test(now time.Time) responders.Notice {
	n := Sample(now)
	n.Alert.ID = testID + strconv.FormatInt(now.UnixNano(), 10)
	n.Alert.Rule, n.Alert.Severity = "self.test", alert.Low
	n.Alert.Title, n.Alert.TitleZH = "Test: this is what an alert looks like", "测试：告警的样子"
	n.Actions = nil
	return n
}

// IsTest says whether an id is that of a Test.
func IsTest(id string) bool {
	digits, ok := strings.CutPrefix(id, testID)
	return ok && len(digits) > 15 && strings.Trim(digits, "0123456789") == ""
}
