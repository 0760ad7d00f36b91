age-encryption.org/v1
-> X25519 bf3Czq4jPdOZCsyX5EmXbnRaZEBEiYkeT2qNgZsjGlE
2IbJopuhbO0iLwT7eEf2sICJFAPVYwsADjzHIvUjBzU
-> X25519 jsErCnUfzR70/GxeTFoOaLYrhAHme6Gm+IA4GbdmoTA
J5yUT18x/2AFr6bijBXker1sBzo86Ode2O7Y2hVltmM
-> tapedeck
cmVhZGVycy9nb2xkZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDMucGI
-> Pq+Rg2x_-grease d
ogPGYA
--- nlrnLPTEHGTHeDTRwiCkcqVYKZ0cXxTaHrSRN1G0vG0
ïgòwœ9¢¾Ü`lùó§šYÊ*õ'É	\¸ÎÁ`vO‰lL«l¸ZŸÉ`M¥çdé´ƒúç7÷Mî
D¸2¡Öí(˜Œ?4ÅÃ}87Ð”¢êÆ®8„-DÅx[ƒŽ¿é$—qb-1ÖHorž"„¡Íg]Õ/Ã²Ü)ÎÄÂ|V…ˆ˜„œa~õMëˆ)ö6«¶=$Qo)9}&ï™€}\S0®	öÄÞ†#ì5šLêM[‰fÊä»r«jÞ¿fà„O4a9áF(