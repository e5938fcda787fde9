package rampolicy

import (
	"strings"
	"sync"
)

// SystemPolicy is what is known of one of the vendor's own policies, which
// events name and whose text they do not carry. The vendor edits them without
// any event.
type SystemPolicy struct {
	Name string
	// Doc is what the policy allows. Inferred says that the vendor's text
	// was not seen and Doc is what the name is documented to mean; Partial
	// that the text is longer than what is written here.
	Doc      *Document
	Inferred bool
	Partial  bool
}

// systemTexts is a short table of system policies that matter to privilege.
// A leading "?" marks a policy whose text is inferred from what it is
// documented to grant, "~" one whose text goes on.
var systemTexts = map[string]string{
	"?AdministratorAccess":                  `* on *`,
	"~PowerUserAccess":                      `!ram:*,ims:*,resourcemanager:*,resourcesharing:*,cloudsso:*,bss:ModifyAccount,bss:ModifyBillingAccount,bss:ModifyPaymentRelationship,bssapi:ModifyAccountRelation on *; ram:ListRoles,ram:CreateServiceLinkedRole,ram:DeleteServiceLinkedRole on *`,
	"?ReadOnlyAccess":                       `*:Describe*,*:List*,*:Get*,*:BatchGet*,*:Query*,*:BatchQuery*,*:Check*,actiontrail:LookupEvents on *`,
	"?AliyunRAMFullAccess":                  `ram:* on *`,
	"AliyunRAMReadOnlyAccess":               `ram:Get*,ram:List*,ram:GenerateCredentialReport,accessanalyzer:Get*,accessanalyzer:List* on *`,
	"AliyunSTSAssumeRoleAccess":             `sts:AssumeRole on *`,
	"?AliyunResourceDirectoryFullAccess":    `resourcemanager:* on *`,
	"AliyunResourceDirectoryReadOnlyAccess": `resourcemanager:Get*,resourcemanager:List* on *`,
	"?AliyunCloudSSOFullAccess":             `cloudsso:* on *`,
	"?AliyunActionTrailFullAccess":          `actiontrail:* on *`,
	"AliyunActionTrailReadOnlyAccess":       `actiontrail:Lookup*,actiontrail:Describe*,actiontrail:Get*,actiontrail:Check*,actiontrail:List* on *`,
	"?AliyunKMSFullAccess":                  `kms:* on *`,
	"?AliyunKMSReadOnlyAccess":              `kms:Describe*,kms:List* on *`,
	"AliyunFCFullAccess":                    `fc:* on *; ram:PassRole on * for fc.aliyuncs.com`,
	"?AliyunFnFFullAccess":                  `fnf:* on *; ram:PassRole on * for fnf.aliyuncs.com`,
	"?AliyunECSFullAccess":                  `ecs:* on *; vpc:DescribeVpcs,vpc:DescribeVSwitches on *`,
	"?AliyunECSReadOnlyAccess":              `ecs:Describe*,ecs:List*,vpc:DescribeVpcs,vpc:DescribeVSwitches on *`,
	"?AliyunECSAssistantFullAccess":         `ecs:RunCommand,ecs:InvokeCommand,ecs:SendFile,ecs:CreateCommand,ecs:DescribeInstances on *`,
	"?AliyunOOSFullAccess":                  `oos:* on *`,
	"?AliyunROSFullAccess":                  `ros:* on *`,
	"?AliyunCSFullAccess":                   `cs:* on *`,
	"?AliyunECIFullAccess":                  `eci:* on *`,
	"?AliyunOSSFullAccess":                  `oss:* on *`,
	"?AliyunOSSReadOnlyAccess":              `oss:Get*,oss:List* on *`,
	"?AliyunLogFullAccess":                  `log:* on *`,
	"?AliyunLogReadOnlyAccess":              `log:Get*,log:List*,log:Query* on *`,
	"?AliyunRDSFullAccess":                  `rds:* on *`,
	"?AliyunRDSReadOnlyAccess":              `rds:Describe*,rds:List* on *`,
	"?AliyunVPCFullAccess":                  `vpc:* on *`,
	"?AliyunVPCReadOnlyAccess":              `vpc:Describe*,vpc:List*,vpc:Get* on *`,
	"?AliyunSLBFullAccess":                  `slb:* on *`,
	"?AliyunSLBReadOnlyAccess":              `slb:Describe*,slb:List* on *`,
	"?AliyunBSSFullAccess":                  `bss:*,bssapi:* on *`,
	"?AliyunCloudMonitorFullAccess":         `cms:* on *`,
	"?AliyunYundunSASFullAccess":            `yundun-sas:* on *`,
	"?AliyunConfigFullAccess":               `config:* on *`,
	"?AliyunContainerRegistryFullAccess":    `cr:* on *`,
	"?AliyunDNSFullAccess":                  `alidns:* on *`,
	"?AliyunTagAdministratorAccess":         `tag:* on *`,
	// Attached to every account beside control policies.
	"FullAliyunAccess": `* on *`,
}

var systemTable = sync.OnceValue(func() map[string]SystemPolicy {
	out := make(map[string]SystemPolicy, len(systemTexts))
	for key, text := range systemTexts {
		p := SystemPolicy{Name: strings.TrimLeft(key, "?~"), Inferred: strings.HasPrefix(key, "?"), Partial: strings.HasPrefix(key, "~")}
		p.Doc = &Document{Version: "1"}
		for i, part := range strings.Split(text, "; ") {
			actions, rest, _ := strings.Cut(part, " on ")
			resource, service, limited := strings.Cut(rest, " for ")
			s := Statement{Index: i + 1, AnyPrinc: true, Resources: []string{resource}}
			actions, s.NotAction = strings.CutPrefix(actions, "!")
			s.Actions = strings.Split(actions, ",")
			if limited {
				s.Conditions = []Condition{{Operator: "StringEquals", Key: "acs:Service", Values: []string{service}}}
			}
			p.Doc.Statements = append(p.Doc.Statements, s)
		}
		out[strings.ToLower(p.Name)] = p
	}
	return out
})

// System returns what is known of a system policy by its name, without regard
// to letter case. A custom policy of the same name is another thing.
func System(name string) (SystemPolicy, bool) {
	p, ok := systemTable()[strings.ToLower(name)]
	return p, ok
}
