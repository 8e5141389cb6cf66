"""What people are called: surnames and given names, Chinese and English, for finding names and for making others.

The lists are of common names (the Hundred Family Surnames; names frequent in American and British registers), not of all.
"""

SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛"
    "闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤常温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成"
    "苗谷盛曲翁冉骆蓝路游辛靳欧管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全"
    "佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝"
    "閻閆張劉陳楊黃趙吳孫馬羅鄭謝許韓馮鄧蕭蔣餘葉蘇魏呂盧薑鐘陸範賈韋鄒龍賀顧龔邵萬錢嚴湯溫龐顏莊聶魯歐關蘭畢單紀駱藍"
)
_COMPOUND = "欧阳 司马 上官 诸葛 夏侯 皇甫 尉迟 公孙 慕容 令狐 司徒 长孙 宇文 端木 东方 南宫 独孤 轩辕"
COMPOUND_SURNAMES = tuple(_COMPOUND.split())
COMMON_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹"
"""Where another surname is taken from."""
GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚英华玉萍红玲辉鹏桂波斌莉浩宇轩涵琪雨欣怡佳子睿博文思梦晨阳俊嘉志建国海峰雪梅春秀云凤飞龙成龙晓燕东亮健新利民永庆福祥瑞安宁"
    "康乐雅婷诗语琳颖慧洁颜倩璐瑶萱彤悦彬凯旭昊天翔鑫森林源清泉江河山岩石松柏杨柳青竹菊荷莲"
)
GIVEN_SIGNS = frozenset(GIVEN) | frozenset(
    "小大一二三四五六七八九十正中光良德义仁忠孝信礼智贤惠兴盛富贵荣昌发达全有长生根宝珍珠金银玉翠香芬芝菲蓉蕾薇茵莹滢淑贞婉娇媚美娥妹姗婵妮妍娴婧媛嫣铭钧钢铁锋锐镇毅坚诚诺谦谨言诗书琴棋画尧舜禹汤启"
    "学继承传宗祖耀祺祯禄寿喜庭廷朝政治邦家栋梁材树楠梓桐榕枫杉桦槐榆元亨通运泰和顺友爱心怀念远逸凡非尘易恒久卓越超群英豪杰雄伯仲叔季孟立建业功勋振奋进取胜凯歌啸鸣翰墨砚彦哲圣灵秋冬夏晴朗晖曦曙晓晟昭映"
    "月星辰宇宙洪荒川洲洋涛浪波涌淼润泽沛沐沁汐渊湛澄澜瀚雯霖霏露霜冰凌芸苗苏若茜荣莎莺萌萧蓓蓝薛羽翎翼翠鸿鹤鹰鹏凰骏骥驰麟虎豹熊狮"
)
"""Characters that given names are mostly made of."""

_FIRST = """
james robert john michael david william richard joseph thomas charles christopher daniel matthew anthony mark donald steven paul
andrew joshua kenneth kevin brian george timothy ronald edward jason jeffrey ryan jacob gary nicholas eric jonathan stephen larry
justin scott brandon benjamin samuel gregory alexander frank patrick raymond jack dennis jerry tyler aaron jose adam nathan henry
douglas zachary peter kyle noah ethan jeremy walter christian keith roger terry austin sean gerald carl harold dylan arthur
lawrence jordan jesse bryan billy bruce gabriel joe logan alan juan albert willie elijah wayne randy vincent mason roy ralph bobby
russell bradley philip eugene oliver harry leo max oscar hugo felix simon martin mary patricia jennifer linda elizabeth barbara
susan jessica sarah karen lisa nancy betty sandra margaret ashley kimberly emily donna michelle carol amanda melissa deborah
stephanie rebecca sharon laura cynthia dorothy amy kathleen angela shirley emma brenda pamela nicole anna samantha katherine
christine debra rachel carolyn janet maria olivia heather helen catherine diane julie victoria joyce lauren kelly christina ruth
joan virginia judith evelyn hannah andrea megan cheryl jacqueline madison teresa abigail sophia martha sara gloria janice kathryn
ann isabella judy charlotte julia grace amber alice jean denise frances danielle marilyn natalie beverly diana brittany theresa
kayla alexis doris lori tiffany lucy chloe sophie jane zoe fiona claire elena ines carlos luis miguel pedro jorge ivan igor olga
irina natasha sergei vladimir hans klaus jürgen heinrich pierre jacques françois giovanni marco luca paolo giulia ahmed mohammed
muhammad ali hassan fatima aisha omar yusuf priya raj anil ravi sanjay hiroshi kenji yuki akira mei ming wei xiao jun ling hui
fang
"""
_FIRST_TO_GIVE = """
Alex Robin Jamie Casey Morgan Taylor Jordan Riley Avery Quinn Rowan Sidney Marion Leslie Francis Dana Kerry Lee Terry Jesse
"""
_LAST_TO_GIVE = """
Ashford Barlow Calder Denholm Elwood Fairbank Garland Hartley Ingram Jessop Kendrick Lowell Marsden Norwood Oakley Prescott
Redfern Selwyn Thornton Underhill Vickers Wakefield Yardley Alcott Bramley Cotton Dunmore Easton Farrow Gresham
"""
FIRST_NAMES = frozenset(_FIRST.split())
"""Common English first names, and some of other languages, in lower case."""
FIRST_TO_GIVE, LAST_TO_GIVE = _FIRST_TO_GIVE.split(), _LAST_TO_GIVE.split()
"""What stands for another first or last name."""
