#include "tamis/calibration_text.h"

namespace tamis {

std::span<const CalibrationText> calibration_texts() {
  static constexpr CalibrationText kTexts[] = {
      {"Why is the sky blue?",
       "Sunlight is scattered by the molecules of the air. Blue light, whose waves are short, is "
       "scattered far more than red light, so it reaches the eye from every part of the sky."},
      {"how do I undo the last commit in git",
       "`git reset --soft HEAD~1` moves the branch back by one commit and keeps every change in "
       "the index; with `--hard` the changes are lost (version 2.39, 2022-12-12)."},
      {"When was the first railway tunnel under a river opened?",
       "The harbour café closes at 6 p.m. on weekdays; on Sundays it stays open until the last "
       "ferry, which leaves at 21:45 and costs €3.80."},
      {"Wie funktioniert eine Wärmepumpe?",
       "Eine Wärmepumpe entzieht der Luft, dem Boden oder dem Wasser Wärme. Ein Verdichter hebt "
       "sie "
       "auf eine höhere Temperatur, mit der sich ein Haus heizen lässt."},
      {"Pourquoi la mer est-elle salée ?",
       "Les rivières arrachent des sels aux roches et les portent à la mer, où l'eau s'évapore et "
       "où le sel reste depuis des millions d'années."},
      {"¿Qué altura tiene la torre de la catedral?",
       "La biblioteca municipal abrió sus puertas en 1908 con tres mil libros y dos lámparas de "
       "gas."},
      {"Почему закат бывает красным?",
       "На закате солнце красное: его свет проходит через толстый слой воздуха, и синие лучи "
       "рассеиваются по дороге."},
      {"熊猫吃什么？", "大熊猫主要以竹子为食，每天要吃十几公斤竹叶和竹笋，偶尔也吃野果。"},
      {"電車は何時に出発しますか",
       "この町の図書館は月曜日が休みで、土曜日は午後五時まで開いています。"},
      {"لماذا تهاجر الطيور؟",
       "تهاجر الطيور كل خريف نحو الجنوب بحثا عن الطعام والدفء، ثم تعود في الربيع لتبني أعشاشها."},
      {"आकाश नीला क्यों दिखता है?",
       "आकाश नीला दिखता है क्योंकि हवा के अणु नीले प्रकाश को लाल प्रकाश से अधिक बिखेरते हैं।"},
      {"Türkiye'nin en uzun nehri hangisidir?",
       "Kızılırmak, kaynağından denize kadar Türkiye sınırları içinde akan en uzun nehirdir."},
  };
  return kTexts;
}

}  // namespace tamis
