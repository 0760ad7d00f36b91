age-encryption.org/v1
-> X25519 znOQ1VjePQopFmfVnXI+H+oG7ks3aybQ498J3PUNvQs
EPA2kPGWEalAf1cIrUxjbodklKuVCANdGv6piaGASWw
-> X25519 HJkmdE0J5D5xZaVfVCE4m47qBEY4Bw4n/83EqgIMLVo
kZVTfFEomddDGrnok8rpefW/Kg41MnujoAWyYgnGRD8
-> tapedeck
Y2F0YWxvZ3MvMS0xLTVhOWI0ZTI3LWZmMjgtOGEzMy04Y2NjLTI0NTNlOTVjNjNm
ZC5wYg
-> FTLj}R-grease 7PnS
aDY/CTcPHddu+MC55pHuD+PqW5lFpFxt256m//jxU52hL4HFCwyHWFVwp5qHo0kX
7rF/0tg/DIryiwI4jdsOEBLnX7laOiguEAM
--- ZuSvV3KnmozQ90UDERDYjyx8/79GizXb4PxV05mnJCI
ˆŽ	UZ~Ã2+†Ó‚´d¯‘Ù\‘•€iaøÆ®·ßo [-@:h¬ÝzÐV€eduûC‚Yw¦	©£p,5`æüßÇ_u:ì­ÔÃfL˜'(½ô—O#	
]Ù^d¶˜`õƒzÜ‡ã¾o‘ærfákX}e*¶QÔp²Á÷µÄ's.™.u®EFàŠø:Ñô|@ÝU ©ðª­¤™Ai`Î¢t‘´SRy3õôJ ¦íáƒ‘Âz»°/óÌÚ_´H˜8X]…Ù­Îô¨“?…œG‹^HÂØãÔÀWœ}MlÑxÐ)H)>3×à`CõœÎ›¿Ã¥Ø¿Zz›ÍZw—yséÁyºPQ1Yiû\daŽaé²5&”JØäZ¶*‹+àÂy=R,x•z†b¾¾£š:dŸÖ½¥[äÙµ¤) Àú›JÃRÁiœ3xÒÕ½-Nª‘Ýœ£†ZXPÇÐ’Ø‹+n